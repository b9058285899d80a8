"""Lines of the engine, and tables of results."""

from __future__ import annotations

import datetime
import gc
import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Optional, Union

import pandas as pd
import pytest
from pydantic import BaseModel, ConfigDict, field_validator

from batchagent import BatchAgent, SpecError
from batchagent.result import Reader, schema_of, type_of
from batchagent.results import Results
from batchagent.rows import read_inputs


pytestmark = pytest.mark.filterwarnings("ignore::batchagent.SimulatedWarning")


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


BIG, HUGE = 2**53 + 1, 2**200


def table(*values: Any) -> Results[Any]:
    lines = [json.dumps({"batch": "b", "job_id": f"job-{i}", "index": i, "status": "ok", "output": {"n": v}, "attempts": 1}).encode() for i, v in enumerate(values)]
    return Results([Reader(None).read(line) for line in lines])


@pytest.mark.parametrize("values, pandas, polars", [
    ([BIG, None], "Int64", "Int64"),
    ([1, None], "Int64", "Int64"),
    ([1, 2], "int64", "Int64"),
    ([2**63, None], "UInt64", "Int128"),
    ([2**63, 1], "uint64", "Int128"),
    ([2**63, -1], "object", "Int128"),
    ([HUGE, None], "object", "String"),
    ([BIG, 0.5], "object", "String"),
    ([1, 0.5, None], "float64", "Float64"),
    (["a", None], "str", "String"),
    (["a", HUGE], "object", "String"),
    ([True, 5], "object", "String"),
    ([[1], [BIG, None], None], "object", "List(Int64)"),
    ([[1], ["a"]], "object", "String"),
    ([{"a": HUGE}, {"b": 1}], "object", "String"),
    ([{"a": 1}, {"b": "c"}], "object", "Struct({'a': Int64, 'b': String})"),
])
def test_tables_change_no_value(values: list[Any], pandas: str, polars: str) -> None:
    column = table(*values).to_pandas()["n"]
    assert [None if v is None or v is pd.NA or v != v else v for v in column] == values
    assert str(column.dtype) in (pandas, "object" if pandas == "str" else pandas)
    series = table(*values).to_polars()["n"]
    assert str(series.dtype) == polars
    if polars == "String":
        assert series.to_list() == [v if v is None or isinstance(v, str) else json.dumps(v, separators=(",", ":")) for v in values]
    elif not polars.startswith("Struct"):
        assert series.to_list() == values


def test_tables_change_no_value_of_the_inputs() -> None:
    def both(inputs: Any) -> tuple[Any, Any]:
        lines = [OK.replace(b'"index":7', b'"index":%d' % i) for i in range(2)]
        results = Results([Reader(None).read(line) for line in lines], rows=read_inputs(inputs))  # type: ignore[arg-type]
        return results.to_pandas()["k"], results.to_polars()["k"]

    frame = pd.DataFrame({"k": pd.array([BIG, None], dtype="Int64")})
    pandas, polars = both(frame)
    assert str(pandas.dtype) == "Int64" and pandas[0] == BIG and polars.to_list() == [BIG, None]
    for values in ([b"\xff", "a"], [Decimal("0.1"), 0.5], [b"b", HUGE]):
        pandas, polars = both([{"k": v} for v in values])
        assert pandas.tolist() == values and polars.to_list() in (values, list(map(str, values)))


def test_a_schema_may_be_a_file(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema))
    for given in (file, str(file)):
        assert schema_of(given) == schema and type_of(given) is None
    reduced = BatchAgent.run_with_reduce_sync(task="{input}", inputs=[1], output_schema=file, reduce={"task": "Sum {n}.", "output_schema": str(file)})
    assert isinstance(reduced[0][0].output["n"], int) and isinstance(reduced[1]["n"], int)
    for text in (None, "no schema", "[1]"):
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        with pytest.raises(SpecError, match="output_schema is .*schema.json.*: "):
            schema_of(str(file))


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
