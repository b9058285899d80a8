"""Inputs in every accepted form, as JSON lines for the engine."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from .plain import plain, without_gaps

CHUNK = 4096
"""Rows that are encoded at a time."""


class Rows:
    """The inputs of a batch: their number, their lines, and the row behind each result."""

    def __init__(self, count: int, chunks: Callable[[], Iterator[list[Any]]], row: Callable[[int], Any], labels: Any = None, written: Any = None) -> None:
        self._count = count
        self._written: Callable[[], Iterator[list[Any]]] = written or chunks  # with texts where JSON needs them
        self._chunks = chunks
        self._row = row
        self.labels = labels
        """The index of the DataFrame that the rows came from, or None."""

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        return self._row(index)

    def chunks(self) -> Iterator[list[Any]]:
        return self._chunks()

    def lines(self) -> Iterator[bytes]:
        """Yield the rows as JSON lines, many lines at a time."""
        first = 0
        for chunk in self._written():
            encoded = []
            for i, row in enumerate(chunk, first):
                try:
                    encoded.append(_line(row))
                except (PydanticSerializationError, ValueError, TypeError, RecursionError) as e:
                    raise TypeError(f"inputs[{i}] cannot be written as JSON: {e}; convert its values first") from None
            encoded.append(b"")
            first += len(chunk)
            yield b"\n".join(encoded)


def _line(row: Any) -> bytes:
    try:
        line = to_json(row, by_alias=False, inf_nan_mode="constants", fallback=plain)
        if b"NaN" not in line:
            return line
    except PydanticSerializationError:
        pass  # perhaps of NaT
    return to_json(without_gaps(row), by_alias=False, inf_nan_mode="constants", fallback=plain)


class File:
    """Inputs that the engine reads itself: a path, a glob, or an object such as s3://bucket/key."""

    def __init__(self, path: str) -> None:
        self.path = path


def read_inputs(inputs: Any) -> Rows | File:
    """Accept rows, a DataFrame of pandas or polars, or a path. A row is a mapping, a model, a dataclass, or one value."""
    if isinstance(inputs, str) and inputs.startswith("s3://"):
        return File(inputs)
    if isinstance(inputs, (str, os.PathLike)):
        return File(str(Path(inputs).expanduser().absolute()))
    kind = type(inputs)
    package = kind.__module__.partition(".")[0]
    if package == "pandas" and kind.__name__ == "DataFrame":
        return _from_pandas(inputs)
    if package == "pandas" and kind.__name__ == "Series":
        return _from_pandas(inputs.to_frame(name=inputs.name if inputs.name is not None else "input"))
    if package == "polars" and kind.__name__ == "LazyFrame":
        inputs = inputs.collect()
    if package == "polars" and kind.__name__ in ("DataFrame", "LazyFrame"):
        return _from_polars(inputs)
    if isinstance(inputs, (Mapping, bytes, bytearray, memoryview)) or not isinstance(inputs, Iterable):
        raise TypeError(f"inputs is {kind.__name__}; pass a list of dicts, a DataFrame, or the path of a file")
    rows: Sequence[Any] = inputs if isinstance(inputs, Sequence) else list(inputs)
    return Rows(len(rows), lambda: (list(rows[i : i + CHUNK]) for i in range(0, len(rows), CHUNK)), lambda i: rows[i])


def _from_pandas(frame: Any) -> Rows:
    names = [str(name) for name in frame.columns]
    _no_twins(names)

    def values(part: Any, column: int, written: bool = False) -> list[Any]:
        series = part.iloc[:, column]
        missing = series.isna()
        found = series.tolist()
        if written and ("[ns" in str(series.dtype) or series.dtype == object):
            found = list(map(_with_nanoseconds, found))
        return [None if gone else v for gone, v in zip(missing, found)] if missing.any() else list(found)

    def chunks(written: bool = False) -> Iterator[list[Any]]:
        for first in range(0, len(frame), CHUNK):
            part = frame.iloc[first : first + CHUNK]
            yield [dict(zip(names, row)) for row in zip(*(values(part, c, written) for c in range(len(names))))]

    def row(i: int) -> dict[str, Any]:
        part = frame.iloc[i : i + 1]
        return {name: values(part, c)[0] for c, name in enumerate(names)}

    return Rows(len(frame), chunks, row, labels=frame.index, written=lambda: chunks(written=True))


def _with_nanoseconds(value: Any) -> Any:
    """Return a time of pandas as text if it has nanoseconds, which datetimes of Python have not."""
    if getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0):
        return _iso(value.isoformat()) if value == value else value
    return value


def _iso(text: str) -> str:
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _from_polars(frame: Any) -> Rows:
    def clean(part: Any) -> list[Any]:
        return list(part.fill_nan(None).to_dicts())

    times = {"Datetime": "%Y-%m-%dT%H:%M:%S%.f", "Time": "%H:%M:%S%.f"}

    def written(part: Any) -> list[Any]:
        rows = clean(part)
        for name, kind in part.schema.items():
            form = times.get(kind.base_type().__name__)
            if form is None:
                continue
            column = part[name]
            texts = column.dt.strftime(form + ("%:z" if getattr(kind, "time_zone", None) else ""))
            for i in (column.dt.nanosecond() % 1000 != 0).arg_true():
                rows[i][name] = _iso(texts[i])
        return rows

    def chunks(read: Callable[[Any], list[Any]]) -> Iterator[list[Any]]:
        return (read(part) for part in frame.iter_slices(CHUNK))

    return Rows(len(frame), lambda: chunks(clean), lambda i: clean(frame.slice(i, 1))[0], written=lambda: chunks(written))


def _no_twins(names: list[str]) -> None:
    if len(set(names)) < len(names):
        twin = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"the DataFrame has two columns {twin!r}; rename one")


def fields_of(row: Any) -> dict[str, Any]:
    """Return the fields of a row, for a table. A bare value is the field ``input``, as in a spec."""
    if row is None:
        return {}
    if type(row) is dict:  # fast, for long tables
        return row
    if isinstance(row, Mapping):
        return dict(row)
    if hasattr(row, "model_dump"):
        return dict(row.model_dump())
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return {f.name: getattr(row, f.name) for f in dataclasses.fields(row)}
    return {"input": row}
