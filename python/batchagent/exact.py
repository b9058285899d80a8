"""Reads JSON numbers with all their digits. pydantic reads them as floats, which have 15 to 17."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)

_LONG = re.compile(rb"[\d.]{17}|\d[eE][+-]?\d{3}")
"""Is in every text with a number that a float cannot hold, and in few others."""


class Exact(float):
    """A float that shows the number from which it was made. pydantic makes a Decimal of a float from this text."""

    text: str

    def __str__(self) -> str:
        return self.text


def validated(model: type[M], text: bytes) -> M:
    """Return ``model.model_validate_json(text)``, but Decimals and ints with all their digits."""
    checked = model.model_validate_json(text)
    if not _LONG.search(text):
        return checked
    lost = 0

    def number(digits: str) -> Any:
        nonlocal lost
        rounded = float(digits)
        if Decimal(repr(rounded)) == (whole := Decimal(digits)):
            return rounded
        lost += 1
        if whole == whole.to_integral_value() and whole.adjusted() < 400:
            return int(whole)
        found = Exact(rounded)
        found.text = digits
        return found

    try:
        exact = json.loads(text, parse_float=number)
        # Values of Python are read by other rules than JSON, such as those for bytes in base64. Where that shows, the floats stay.
        if not lost or model.model_validate(json.loads(text)) != checked:
            return checked
        return model.model_validate(exact)
    except Exception:
        return checked


def part_of(text: bytes, choose: Callable[[Any], Any]) -> bytes:
    """Return the JSON of a part of a JSON text, with the digits of its numbers."""
    numbers: list[str] = []
    mark = secrets.token_hex(16)  # no text of the model can have it

    def number(digits: str) -> str:
        numbers.append(digits)
        return f"{mark} {len(numbers) - 1}"

    part = json.dumps(choose(json.loads(text, parse_float=number)))
    return re.sub(rf'"{mark} (\d+)"', lambda m: numbers[int(m[1])], part).encode()
