"""Writes what an agent's function returned as JSON, and reads its row."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, BaseModel, RootModel, TypeAdapter
from pydantic_core import to_json, to_jsonable_python

from .plain import plain


def read_row(row_type: Any, fields: Any) -> Any:
    """Return a row as a value of a type. Rows that were models have the names of fields, and files may have the aliases."""
    adapter = TypeAdapter(row_type)
    try:
        return adapter.validate_python(fields, by_alias=True, by_name=True)
    except TypeError as e:
        if "unexpected keyword" not in str(e):
            raise
    return adapter.validate_python(fields)  # pydantic before 2.11


def written(value: Any) -> bytes:
    """Return a value as JSON. Fields have the names by which their model reads them, as in its JSON Schema."""
    named = _named(value, to_jsonable_python(value, by_alias=False, fallback=plain))
    output = to_json(named, inf_nan_mode="null")
    if output != to_json(named):
        raise _not_finite("NaN or infinity")
    return output


def _named(value: Any, json: Any) -> Any:
    """Rename the fields of ``json``, which is ``value`` as JSON. A part that was written in another form stays as it is."""
    if isinstance(value, RootModel):
        return _named(value.root, json)
    if isinstance(json, dict) and (isinstance(value, BaseModel) or dataclasses.is_dataclass(value)):
        found = type(value).model_fields if isinstance(value, BaseModel) else getattr(value, "__pydantic_fields__", {})
        return {_alias(found.get(name), name): _named(getattr(value, name, None), part) for name, part in json.items()}
    if isinstance(value, Mapping) and isinstance(json, dict) and len(value) == len(json):
        return {name: _named(v, part) for v, (name, part) in zip(value.values(), json.items())}
    if isinstance(value, (list, tuple, set, frozenset)) and isinstance(json, list) and len(value) == len(json):
        return list(map(_named, value, json))
    if isinstance(value, float) and not math.isfinite(value) and not isinstance(json, str):
        raise _not_finite(str(value))
    return json


def _not_finite(number: str) -> ValueError:
    return ValueError(f"the answer has the number {number}; NaN and infinity are no JSON values, so return None or a text instead")


def _alias(field: Any, name: str) -> str:
    alias = getattr(field, "validation_alias", None) or getattr(field, "alias", None)
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    return alias if isinstance(alias, str) else name
