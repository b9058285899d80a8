"""Whole runs with the engine and its simulated model server."""

from __future__ import annotations

import asyncio
import json
import sys
import types
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import polars as pl
import pytest
from pydantic import AfterValidator, BaseModel

from batchagent import AgentResult, BatchAgent, BatchError, EngineError, ReduceError, SimulatedWarning, SpecError

pytestmark = pytest.mark.filterwarnings("ignore::batchagent.SimulatedWarning")


class Ticket(BaseModel):
    topic: str
    count: int


ROWS = [{"text": f"ticket {i}"} for i in range(7)]


def test_run_returns_checked_outputs_in_the_order_of_the_inputs() -> None:
    seen: list[int] = []
    results = asyncio.run(BatchAgent.run(task="Sort {text}", inputs=ROWS, output_schema=Ticket, on_result=lambda r: seen.append(r.index)))
    assert [r.index for r in results] == list(range(7)) and sorted(seen) == list(range(7))
    assert all(r.ok and r.error is None and isinstance(r.output, Ticket) for r in results)
    assert "ticket 3" in results[3].output.topic  # type: ignore[union-attr]
    assert results[3].output is results[3].output
    assert results[3].input == {"text": "ticket 3"}
    assert (results[3].job_id, results[3].attempts, results[3].status) == ("job-3", 1, "ok")
    assert results.usage["prompt_tokens"] > 0 and results.batch.startswith("b_")
    assert "7 rows, 7 ok, 0 failed" in repr(results)


def test_output_may_be_a_schema_a_type_or_text() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert isinstance(BatchAgent.run_sync(task="{text}", inputs=ROWS[:1], output_schema=schema)[0].output["n"], int)
    assert isinstance(BatchAgent.run_sync(task="{text}", inputs=ROWS[:1], output_schema=list[str])[0].output, list)
    assert "text" in BatchAgent.run_sync(task="{text}", inputs=ROWS[:1])[0].output


def test_stream_yields_results_and_stops_early() -> None:
    async def main() -> tuple[int, int]:
        all_of_them = [r async for r in BatchAgent.stream(task="{text}", inputs=ROWS)]
        async for _ in BatchAgent.stream(task="{text}", inputs=[{"text": str(i)} for i in range(5000)]):
            break
        return len(all_of_them), len({r.index for r in all_of_them})

    assert asyncio.run(main()) == (7, 7)
    assert len(list(BatchAgent.stream_sync(task="{text}", inputs=ROWS))) == 7


def test_a_sample_is_continued_and_chosen_rows_run_again(tmp_path: Path) -> None:
    kept: dict[str, Any] = {"name": "again", "inputs": ROWS, "output_schema": Ticket, "checkpoint_dir": tmp_path}
    sample = BatchAgent.run_sync(task="Sort {text}", sample=3, seed=1, **kept)
    assert len(sample) == 3 and all(f"ticket {r.index}" in r.output.topic and r.input == ROWS[r.index] for r in sample)
    whole = BatchAgent.run_sync(task="Sort {text}", **kept)
    assert [r.index for r in whole] == list(range(7))
    again = BatchAgent.run_sync(task="Order {text}", rerun='output.topic contains "ticket 3"', **kept)
    assert ["Order" in r.output.topic for r in again] == [i == 3 for i in range(7)]
    arrived = [r.index for r in BatchAgent.stream_sync(task="Order {text}", rerun="index == 5", **kept)]
    assert sorted(arrived) == list(range(7))
    with pytest.raises(SpecError, match="there is no field faild"):
        BatchAgent.run_sync(task="Order {text}", rerun="faild", **kept)


def test_sync_works_inside_of_a_running_loop() -> None:
    async def cell() -> int:
        return len(BatchAgent.run_sync(task="{text}", inputs=ROWS))

    assert asyncio.run(cell()) == 7


def test_on_result_may_be_async_and_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    async def on_result(r: AgentResult[Any]) -> None:
        await asyncio.sleep(0)
        if r.index == 2:
            raise RuntimeError("broken callback")

    assert len(BatchAgent.run_sync(task="{text}", inputs=ROWS, on_result=on_result)) == 7
    assert "on_result failed for row 2" in caplog.text


def test_an_exception_of_every_class_in_on_result_ends_the_run() -> None:
    def on_result(r: AgentResult[Any]) -> None:
        raise KeyboardInterrupt("enough")

    with pytest.raises(KeyboardInterrupt, match="enough"):
        BatchAgent.run_sync(task="{text}", inputs=ROWS, on_result=on_result)


def never(value: int) -> int:
    raise ValueError("no count is good enough")


class Strict(BaseModel):
    count: Annotated[int, AfterValidator(never)]


def test_errors_are_data() -> None:
    results = BatchAgent.run_sync(task="{text}", inputs=ROWS[:2], output_schema=Strict)
    error = results[0].error
    assert error is not None and not results[0].ok and results[0].output is None and results[0].status == "failed"
    assert error.type == "OutputInvalid" and "count: Value error, no count is good enough" in error.message
    assert error.raw is not None and "count" in json.loads(error.raw)
    assert len(results.failed) == 2 and results.failed.inputs == ROWS[:2]

    (Path("rows.jsonl")).write_text('{"text": "a"}\n{"other": "b"}\n')
    results = BatchAgent.run_sync(task="{text}", inputs="rows.jsonl", on_bad_input="skip")
    assert [r.ok for r in results] == [True, False]
    assert results[1].error is not None and results[1].error.type == "BadInput"


def test_mistakes_are_exceptions() -> None:
    with pytest.raises(SpecError, match="txet") as e:
        BatchAgent.run_sync(task="{txet}", inputs=ROWS)
    assert "/tmp" not in str(e.value) and isinstance(e.value, BatchError) and isinstance(e.value, ValueError)
    with pytest.raises(EngineError, match="does not answer"):
        BatchAgent.run_sync(task="{text}", inputs=ROWS, backend="vllm://127.0.0.1:1")
    with pytest.raises(SpecError):
        BatchAgent.run_sync(task="{text}", inputs="missing.csv")
    with pytest.raises(SpecError, match="there are: .*read_file"):
        BatchAgent.run_sync(task="{text}", inputs=ROWS, tools=["no_such_tool"])


@pytest.mark.parametrize("option", [{"limit": 0}, {"sample": 0}, {"max_inflight": 0}, {"seed": 0}])
def test_zero_is_no_missing_option(option: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=f"{next(iter(option)).replace('_', '.')}.*(above 0|at least 1|goes with --sample)"):
        BatchAgent.run_sync(task="{text}", inputs=ROWS, **option)
    assert len(BatchAgent.run_sync(task="{text}", inputs=ROWS, sample=2, seed=0)) == 2


def test_no_rows_are_no_work() -> None:
    assert BatchAgent.run_sync(task="{text}", inputs=[]) == []


def test_simulated_answers_are_reported() -> None:
    with pytest.warns(SimulatedWarning, match="the answers are simulated"):
        BatchAgent.run_sync(task="{text}", inputs=ROWS)


def test_csv_file() -> None:
    Path("rows.csv").write_text("id,text\n007,first\n008,second\n")
    results = BatchAgent.run_sync(task="{id}: {text}", inputs="rows.csv")
    assert "007: first" in results[0].output["text"] and results[0].input is None
    with pytest.raises(ValueError, match="the inputs were a file"):
        results.inputs


def test_tables_have_inputs_outputs_and_errors() -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"], "topic": ["x", "y", "z"]}, index=["r1", "r2", "r3"])
    results = BatchAgent.run_sync(task="{text}", inputs=frame, output_schema=Ticket)
    table = results.to_pandas()
    assert list(table.index) == ["r1", "r2", "r3"]
    assert list(table.columns)[:4] == ["text", "topic", "output_topic", "count"]
    assert list(table["topic"]) == ["x", "y", "z"] and set(table["status"]) == {"ok"}
    assert list(table["output_topic"]) == list(results.to_pandas(inputs=False)["topic"])
    assert results.to_polars().shape == (3, table.shape[1])
    html = results._repr_html_()
    assert "3 rows, 3 ok, 0 failed" in html and "<td>a</td>" in html
    polars = BatchAgent.run_sync(task="{text}", inputs=pl.DataFrame({"text": ["<b>"]})).to_polars()
    assert polars["text"].to_list() == ["<b>"] and polars.columns[1] == "output_text"


def test_reduce() -> None:
    results, summary = asyncio.run(BatchAgent.run_with_reduce(task="{text}", inputs=ROWS, output_schema=Ticket, reduce="Rank {n} topics.", reduce_schema=Ticket))
    assert len(results) == 7 and isinstance(summary, Ticket)
    with pytest.raises(ReduceError, match="OutputInvalid") as e:
        BatchAgent.run_with_reduce_sync(task="{text}", inputs=ROWS, reduce="Rank {n} topics.", reduce_schema=Strict)
    assert len(e.value.results) == 7 and isinstance(e.value, RuntimeError)


class Plan(BaseModel):
    items: list[str]


def test_plan_and_reduce() -> None:
    results, summary = BatchAgent.run_with_map_reduce_sync(
        plan_prompt="Ask about {topic}, at most {max_items} questions.", plan_inputs={"topic": "{braces} stay"}, plan_output_schema=Plan,
        task="Answer {item}", output_schema=Ticket, reduce="Sum up {n} answers.", reduce_schema=Ticket,
    )
    assert len(results) > 0 and isinstance(summary, Ticket) and isinstance(results[0].fields["item"], str)
    assert "item" in results.to_pandas().columns or "input" in results.to_pandas().columns


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    BatchAgent.run_sync(task="{text}", inputs=ROWS, progress=True)
    assert "100% |████████████████████████| 7/7" in capsys.readouterr().err
    BatchAgent.run_sync(task="{text}", inputs=ROWS)
    assert capsys.readouterr().err == ""


def test_progress_bar_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, html: str) -> None:
            shown.append(html)

    def display(html: str, display_id: bool) -> Handle:
        shown.append(html)
        return Handle()

    notebook = types.ModuleType("IPython")
    notebook.get_ipython = type("ZMQInteractiveShell", (), {})  # type: ignore[attr-defined]
    parts = types.ModuleType("IPython.display")
    parts.HTML, parts.display = str, display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", parts)
    BatchAgent.run_sync(task="{text}", inputs=ROWS)
    assert '<progress value="7" max="7">' in shown[-1]
