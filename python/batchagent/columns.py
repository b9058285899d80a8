"""Columns of tables. No value changes: a column gets a type that holds all of its values exactly."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from numbers import Integral
from typing import Any

from pydantic_core import to_json

_NONE = type(None)
_EXACT = 2**53
"""A float holds every integer up to here."""


def pandas_column(values: list[Any]) -> Any:
    import pandas

    kinds = set(map(type, values))
    ints = {k for k in kinds if _is_int(k)}
    if not ints:
        return values
    others = kinds - ints - {_NONE}
    if others:
        floats = all(issubclass(k, float) for k in others)
        return values if floats and _fit_floats(values) else pandas.array(values, dtype=object)
    low, high = _range(values)
    if -(2**63) <= low and high < 2**63:
        return pandas.array(values, dtype="Int64") if _NONE in kinds else values
    if low >= 0 and high < 2**64:
        return pandas.array(values, dtype="UInt64" if _NONE in kinds else "uint64")
    return pandas.array(values, dtype=object)


def polars_column(name: str, values: list[Any]) -> Any:
    import polars

    kinds = set(map(type, values)) - {_NONE}
    if kinds == {int}:
        low, high = _range(values)
        for bits in (64, 128):
            dtype = getattr(polars, f"Int{bits}", None)
            if dtype is not None and -(2 ** (bits - 1)) <= low and high < 2 ** (bits - 1):
                return polars.Series(name, values, dtype=dtype)
        return _texts(name, values)
    if kinds == {int, float} and _fit_floats(values):
        return polars.Series(name, values, dtype=polars.Float64, strict=False)
    try:
        series = polars.DataFrame({name: values}, strict=False, infer_schema_length=None).to_series()
        if len(kinds) == 1 and kinds <= {str, bool, float} or _same(values, series.to_list()):
            return series
    except Exception:
        pass  # polars has no type for such a mix
    if kinds <= {str, int, float, bool, Decimal, dict, list}:
        return _texts(name, values)
    return polars.Series(name, values, dtype=polars.Object)


def _texts(name: str, values: list[Any]) -> Any:
    import polars

    written: dict[type, Callable[[Any], str | None]] = {str: str, Decimal: str, _NONE: lambda v: None}
    texts = [written.get(type(v), lambda v: to_json(v, inf_nan_mode="constants").decode())(v) for v in values]
    return polars.Series(name, texts, dtype=polars.String)


def _is_int(kind: type) -> bool:
    return issubclass(kind, Integral) and not issubclass(kind, bool)


def _range(values: list[Any]) -> tuple[int, int]:
    """Return the least and the greatest of integers and Nones."""
    found = [v for v in values if v is not None]
    return min(found), max(found)


def _fit_floats(values: list[Any]) -> bool:
    """Tell whether floats hold the integers among the values."""
    return all(-_EXACT <= v <= _EXACT for v in values if _is_int(type(v)))


def _same(given: Any, made: Any) -> bool:
    """Tell whether polars returns the value that it got. It adds fields to dicts, so that all have the same."""
    if isinstance(given, dict):
        return isinstance(made, dict) and all(_same(v, made.get(k)) for k, v in given.items())
    if isinstance(given, (list, tuple)):
        return isinstance(made, (list, tuple)) and len(given) == len(made) and all(map(_same, given, made))
    if isinstance(given, bool) != isinstance(made, bool):
        return False
    return bool(given == made or (given != given and made != made))
