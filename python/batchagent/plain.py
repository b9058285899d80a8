"""Makes JSON values of the values of numpy and pandas, if these packages are in use."""

from __future__ import annotations

import dataclasses
import datetime
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python


def plain(value: Any) -> Any:
    """Return a value that pydantic can write. pydantic calls it with each value that it does not know."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return list(value)
    if numpy is not None and isinstance(value, numpy.generic):
        if isinstance(value, (numpy.datetime64, numpy.timedelta64)):
            return None if numpy.isnat(value) else str(value)
        item = value.item()
        return str(value) if isinstance(item, numpy.generic) else item
    pandas: Any = sys.modules.get("pandas")
    if pandas is not None and value is pandas.NA:
        return None
    raise TypeError(f"{type(value).__name__} is no type of JSON")


def without_gaps(value: Any) -> Any:
    """Return a row with None in place of NaN and NaT, at any depth."""
    if isinstance(value, Mapping):
        return {k: without_gaps(v) for k, v in value.items()}
    if isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return without_gaps(to_jsonable_python(value, by_alias=False, inf_nan_mode="constants", fallback=plain))
    numpy: Any = sys.modules.get("numpy")
    if isinstance(value, (list, tuple, set, frozenset)) or (numpy is not None and isinstance(value, numpy.ndarray)):
        return [without_gaps(v) for v in value]
    gap = isinstance(value, (float, datetime.datetime)) or (numpy is not None and isinstance(value, numpy.generic))
    return None if gap and value != value else value
