"""Makes JSON values of the values of numpy and pandas, if these packages are in use."""

from __future__ import annotations

import sys
from typing import Any


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
