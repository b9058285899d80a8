from __future__ import annotations

import dataclasses
import datetime
import decimal
import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from pydantic import BaseModel

from batchagent.rows import CHUNK, File, Rows, read_inputs


def lines(inputs: Any) -> list[Any]:
    rows = read_inputs(inputs)
    assert isinstance(rows, Rows)
    return [json.loads(line) for chunk in rows.lines() for line in chunk.splitlines()]


class Paper(BaseModel):
    title: str
    day: datetime.date


@dataclasses.dataclass
class Note:
    text: str


def test_accepts_rows_of_every_kind() -> None:
    day = datetime.date(2026, 11, 30)
    assert lines([{"a": 1}, {"a": "ä"}]) == [{"a": 1}, {"a": "ä"}]
    assert lines([Paper(title="t", day=day), Note("n"), "bare", 7]) == [{"title": "t", "day": "2026-11-30"}, {"text": "n"}, "bare", 7]
    assert lines({"a": i} for i in range(3)) == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert lines([{"n": 2**60 + 1, "d": decimal.Decimal("1.10")}]) == [{"n": 2**60 + 1, "d": "1.10"}]


def test_keeps_a_line_break_inside_of_its_row() -> None:
    assert lines([{"a": "x\ny\u2028z\x85"}]) == [{"a": "x\ny\u2028z\x85"}]
    rows = read_inputs([{"a": "x\ny"}, {"a": "z"}])
    assert isinstance(rows, Rows)
    assert b"".join(rows.lines()).count(b"\n") == 2


def test_pandas_values_become_plain_ones() -> None:
    frame = pd.DataFrame({
        "text": ["a", None], "n": [1, 2], "x": [0.1, float("nan")], "at": pd.to_datetime(["2026-01-02", None]),
        "big": pd.array([2**60 + 1, None], dtype="Int64"), "list": [[1, 2], None], "yes": [True, False],
    }, index=[10, 20])
    first, second = lines(frame)
    assert first == {"text": "a", "n": 1, "x": 0.1, "at": "2026-01-02T00:00:00", "big": 2**60 + 1, "list": [1, 2], "yes": True}
    assert second == {"text": None, "n": 2, "x": None, "at": None, "big": None, "list": None, "yes": False}
    rows = read_inputs(frame)
    assert isinstance(rows, Rows)
    assert rows[1]["text"] is None and rows[0]["n"] == 1
    assert lines(frame["n"]) == [{"n": 1}, {"n": 2}]


def test_polars_values_become_plain_ones() -> None:
    frame = pl.DataFrame({"text": ["a", None], "x": [0.1, float("nan")], "at": [datetime.date(2026, 1, 2), None], "list": [[1], [2]]})
    assert lines(frame) == [{"text": "a", "x": 0.1, "at": "2026-01-02", "list": [1]}, {"text": None, "x": None, "at": None, "list": [2]}]
    assert lines(frame.lazy())[0]["text"] == "a"


def test_values_of_numpy_become_plain_ones() -> None:
    row = {
        "n": np.int64(7), "u": np.uint64(2**64 - 1), "x": np.float32(0.5), "b": np.bool_(True), "s": np.str_("a"), "list": np.array([1, 2]),
        "nested": [{"n": np.int8(-1)}], "at": np.datetime64("2026-01-02T03:04:05.123456789"), "never": np.datetime64("NaT"),
    }
    plain = {
        "n": 7, "u": 2**64 - 1, "x": 0.5, "b": True, "s": "a", "list": [1, 2], "nested": [{"n": -1}], "at": "2026-01-02T03:04:05.123456789", "never": None,
    }
    assert lines([row, np.int64(3)]) == [plain, 3]
    assert lines(np.array([1, 2])) == [1, 2]


def test_times_keep_their_nanoseconds() -> None:
    texts = ["2026-01-02T03:04:05.123456789", "2026-01-02T03:04:05", "2026-01-02T03:04:05.5"]
    want = ["2026-01-02T03:04:05.123456789", "2026-01-02T03:04:05", "2026-01-02T03:04:05.500000"]
    at = pd.to_datetime(texts, format="ISO8601").astype("datetime64[ns]")
    frame = pd.DataFrame({"at": at, "utc": at.tz_localize("UTC"), "took": pd.to_timedelta([1, 2000, 0], unit="ns"), "any": pd.Series([at[0], None, "a"], dtype=object)})
    first, second, third = lines(frame)
    assert [r["at"] for r in (first, second, third)] == want
    assert [r["utc"] for r in (first, second, third)] == [w + "Z" for w in want]
    assert first["took"] == "P0DT0H0M0.000000001S" and second["took"] == "PT0.000002S"
    assert (first["any"], second["any"]) == (want[0], None)
    rows = read_inputs(frame)
    assert isinstance(rows, Rows) and rows[0]["at"] == at[0]
    utc = pl.Series(at).dt.replace_time_zone("UTC")
    got = lines(pl.DataFrame({"at": pl.Series(at), "utc": utc, "time": pl.Series(at).dt.time(), "n": [1, 2, None]}))
    assert [r["at"] for r in got] == want and [r["utc"] for r in got] == [w + "Z" for w in want] and got[2]["n"] is None
    assert [r["time"] for r in got] == [w[11:] for w in want]


class Reading(BaseModel):
    x: float
    at: Any = None


def test_nan_and_nat_are_null_everywhere() -> None:
    nan = float("nan")
    rows = [
        {"x": nan, "list": [1.5, (nan, "NaN")], "in": {"x": np.float32("nan")}, "array": np.array([nan, 1])}, {"at": pd.NaT, "gone": pd.NA, "x": nan},
        Reading(x=nan), Reading(x=1, at={"y": nan}), nan,
    ]
    assert lines(rows) == [
        {"x": None, "list": [1.5, [None, "NaN"]], "in": {"x": None}, "array": [None, 1]}, {"at": None, "gone": None, "x": None},
        {"x": None, "at": None}, {"x": 1, "at": {"y": None}}, None,
    ]
    assert lines(pl.DataFrame({"s": [{"x": nan, "y": 1.0}], "l": [[nan, 2.0]]})) == [{"s": {"x": None, "y": 1.0}, "l": [None, 2.0]}]
    assert lines(pd.DataFrame({"l": [[nan, 2.0]]})) == [{"l": [None, 2.0]}]
    assert lines([{"x": float("inf")}, {"x": "NaN"}]) == [{"x": float("inf")}, {"x": "NaN"}], "the engine refuses an infinity"


def test_chunks_lose_no_row() -> None:
    n = 2 * CHUNK + 1
    assert [r["i"] for r in lines(pd.DataFrame({"i": range(n)}))] == list(range(n))
    assert [r["i"] for r in lines(pl.DataFrame({"i": range(n)}))] == list(range(n))


def test_refuses_what_is_no_row() -> None:
    with pytest.raises(TypeError, match="list of dicts"):
        read_inputs({"a": 1})
    for given in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        with pytest.raises(TypeError, match=f"inputs is {type(given).__name__}; pass a list of dicts"):
            read_inputs(given)
    with pytest.raises(TypeError, match=r"inputs\[1\] cannot be written as JSON"):
        lines([{"a": 1}, {"a": object()}])
    with pytest.raises(ValueError, match="two columns 'a'"):
        read_inputs(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    endless: dict[str, Any] = {"x": float("nan")}
    endless["endless"] = [endless]
    with pytest.raises(TypeError, match=r"inputs\[0\] cannot be written as JSON"):
        lines([endless])
    assert isinstance(read_inputs("papers.csv"), File)
