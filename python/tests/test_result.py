"""Lines of the engine, and tables of results."""

from __future__ import annotations

import datetime
import gc
from decimal import Decimal
from typing import Any, Optional, Union

import pytest
from pydantic import BaseModel, ConfigDict, field_validator

from batchagent.result import Reader
from batchagent.results import Results


class Topic(BaseModel):
    topic: str


OK = b'{"batch":"b_1","job_id":"job-7","index":7,"id":"a\\"b","status":"ok","output":{"topic":"t"},"error":null,"attempts":1}'
OTHER_ORDER = b'{ "status" : "ok", "output" : {"topic":"t"}, "index" : 7, "attempts": 1, "job_id": "job-7" }'
FAILED = b'{"batch":"b_1","job_id":"job-8","index":8,"status":"failed","output":null,"error":{"type":"Timeout","message":"late"},"attempts":2}'
CANCELLED = b'{"batch":"b_1","job_id":"job-9","index":9,"status":"cancelled","output":null,"attempts":0}'


@pytest.mark.parametrize("output_type", [None, Topic])
def test_lines(output_type: type[Topic] | None) -> None:
    reader: Reader[object] = Reader(output_type)
    for line in (OK, OTHER_ORDER):
        result = reader.read(line)
        assert result.ok and result.index == 7
        assert result.output == ({"topic": "t"} if output_type is None else Topic(topic="t"))
    failed, cancelled = reader.read(FAILED), reader.read(CANCELLED)
    assert (failed.index, failed.output, failed.status) == (8, None, "failed")
    assert failed.error is not None and failed.error.type == "Timeout"
    assert cancelled.error is not None and (cancelled.error.type, cancelled.status) == ("Cancelled", "cancelled")


def test_an_output_of_another_type_is_an_error() -> None:
    result = Reader(Topic).read(OK.replace(b'{"topic":"t"}', b'{"topic":1}'))
    assert result.error is not None and result.error.type == "OutputInvalid" and result.status == "failed"


class Numbers(BaseModel):
    price: Decimal
    n: int
    x: float
    any: Any
    text: Union[str, float]
    day: datetime.date
    pair: tuple[int, Decimal]
    nested: Optional[Numbers] = None


def test_numbers_keep_their_digits() -> None:
    more = b'"x":0.1234567890123456789,"any":[0.1234567890123456789,1],"text":12345678.12345678901,"day":"2026-01-02"'
    output = b'{"price":12345678901234567890.123456789,"n":9007199254740993.0,%b,"pair":[1e0,1e-400]}' % more
    for text in (output, output[:-1] + b',"nested":' + output + b"}"):
        line = OK.replace(b'{"topic":"t"}', text)
        n = Reader(Numbers).read(line).output
        n = n.nested or n  # type: ignore[union-attr]
        assert (n.price, n.n) == (Decimal("12345678901234567890.123456789"), 9007199254740993)
        assert (n.x, n.any, n.text, n.day) == (0.1234567890123456789, [0.1234567890123456789, 1], 12345678.12345678901, datetime.date(2026, 1, 2))
        assert n.pair == (1, Decimal("1e-400"))


def test_other_values_stay_those_of_json() -> None:
    class Coded(BaseModel):
        model_config = ConfigDict(val_json_bytes="base64")
        data: bytes
        price: float

    read = Reader(Coded).read(OK.replace(b'{"topic":"t"}', b'{"data":"aGk=","price":0.1234567890123456789}')).output
    assert read == Coded(data=b"hi", price=0.1234567890123456789)


class Fatal(BaseException):
    pass


@pytest.mark.parametrize("raised", [ZeroDivisionError("by zero"), KeyError("no key"), Fatal("a panic")])
def test_an_exception_of_a_validator_is_an_error_of_its_row(raised: BaseException) -> None:
    class Checked(Topic):
        @field_validator("topic")
        @classmethod
        def check(cls, value: str) -> str:
            raise raised

    result = Reader(Checked).read(OK)
    assert result.index == 7 and result.output is None and result.error is not None
    assert result.error.type == "OutputInvalid" and f"{type(raised).__name__}: {raised}" in result.error.message
    assert result.error.raw == '{"topic": "t"}'


@pytest.mark.parametrize("on", [True, False])
def test_tables_leave_the_collector_as_it_was(on: bool) -> None:
    results = Results([Reader(None).read(line) for line in (OK, FAILED)])
    try:
        if not on:
            gc.disable()
        assert results.to_pandas()["topic"][7] == "t"
        assert gc.isenabled() == on
    finally:
        gc.enable()
