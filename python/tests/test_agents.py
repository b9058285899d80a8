"""Agents: Python functions with a client and tools of their own jobs."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Optional

import pytest
from pydantic import BaseModel, Field

import batchagent
from batchagent import BatchAgent, EngineError, Job, SyncJob, ToolError, agent, tool
from batchagent.agents import ANY, complaint, encoded
from batchagent.agentscommand import wire_name
from batchagent.job import JobInfo

from harness import Cluster, wait_until
from test_ends import children

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.filterwarnings("ignore::batchagent.SimulatedWarning")


class Ticket(BaseModel):
    team: str
    urgent: bool


def ask(text: str) -> dict[str, Any]:
    return {"model": "any", "messages": [{"role": "user", "content": text}]}


def test_the_signature_decides_the_arguments() -> None:
    for f, wants in ((lambda row: 0, ""), (lambda row, llm: 0, "llm"), (lambda r, job, llm, n=3: 0, "job llm")):
        assert agent(name="a")(f).wants == frozenset(wants.split())
    with pytest.raises(TypeError, match="the first parameter must be the row"):
        agent(name="a")(lambda: 0)
    with pytest.raises(TypeError, match="the parameter model has no value"):
        agent(name="a")(lambda row, model: 0)
    with pytest.raises(ValueError, match="cannot be the name of an agent"):
        agent(lambda row: 0)
    with pytest.raises(TypeError, match="is no agent"):
        BatchAgent.run_sync(agent=3, inputs=[1])
    with pytest.raises(TypeError, match="missing argument 'task'"):
        BatchAgent.run_sync(inputs=[1])
    definition = agent(tools=["read_file"])(plain)
    assert (definition.name, definition.is_async, definition.output_type, definition(1)) == ("plain", False, Ticket, Ticket(team="1", urgent=True))


def plain(row: Any) -> Ticket:
    return Ticket(team=str(row), urgent=True)


class Measure(BaseModel):
    x: Optional[float]


@dataclasses.dataclass
class Reading:
    x: float


def test_answers_are_json() -> None:
    assert encoded("text", None) == b'"text"' and encoded("text", ANY) == b'"\\"text\\""'
    assert encoded(Ticket(team="a", urgent=True), {"type": "object"}) == b'{"team":"a","urgent":true}'
    assert encoded({"x": None, "nan": "NaN"}, None) == b'{"x":null,"nan":"NaN"}'
    for value in (float("nan"), {"x": [1.0, float("-inf")]}, Measure(x=float("nan")), {"a": Measure(x=float("inf"))}, Reading(float("nan")), (float(x) for x in ["nan"])):
        with pytest.raises(ValueError, match="NaN and infinity are no JSON values"):
            encoded(value, None)
    numpy = pytest.importorskip("numpy")
    assert encoded({"n": numpy.int64(7), "x": [numpy.float32(0.5)]}, None) == b'{"n":7,"x":[0.5]}'
    with pytest.raises(ValueError, match="returned None"):
        encoded(None, None)
    with pytest.raises(ValueError, match="at most 4 MiB"):
        encoded("x" * (5 << 20), None)


def test_complaints_are_bounded() -> None:
    try:
        raise ValueError("x" * 10_000)
    except ValueError as e:
        text = complaint(e)
    assert len(text) <= 2000 and text.startswith("ValueError: xxx") and text.endswith("in test_complaints_are_bounded)")


def test_a_job_has_the_same_clock_and_random_numbers_in_every_attempt() -> None:
    def job(index: int) -> JobInfo:
        return JobInfo({"job": f"b_01m8prxe76ayh8zwkyt6e8q8xf/job-{index}", "model": "m", "url": "u", "mcp_url": "m"})

    assert job(1).now() == job(2).now() and job(1).now().isoformat().startswith("2026-11-30T17:44")
    assert job(1).random() == job(1).random() != job(2).random()
    first = job(1)
    assert 0 <= first.random() < 1 and first.random.choice("ab") in "ab"


def test_outputs_are_what_functions_return() -> None:
    values = [{"a": [1, 2.5]}, "text", "{\"a\": 1}", [1, "two"], 7, True, Ticket(team="x", urgent=False)]

    async def give(row: dict[str, Any], job: Job) -> Any:
        return values[row["input"]]

    results = BatchAgent.run_sync(agent=give, inputs=list(range(len(values))))
    assert results.outputs == [*values[:-1], {"team": "x", "urgent": False}]


def test_annotations_are_checked() -> None:
    @dataclasses.dataclass
    class Row:
        text: str
        note: Optional[str] = None

    def read(row: Row) -> Ticket:
        assert isinstance(row, Row)
        return {"team": row.text, "urgent": "no" if row.note else True}  # type: ignore[return-value]

    read.__annotations__ = {"row": Row, "return": Ticket}
    results = BatchAgent.run_sync(agent=read, inputs=[{"text": "a"}, {"text": "b", "note": "n"}, {"other": 1}])
    assert results[0].output == Ticket(team="a", urgent=True)
    assert [r.error.type for r in results.failed if r.error] == ["OutputInvalid", "ProgramFailed"]
    assert "Field required" in results[2].error.message  # type: ignore[union-attr]


def test_a_text_of_a_model_is_searched_for_the_output(simulator: str) -> None:
    async def sort(row: Any, llm: Any) -> str:
        answer = await llm.chat.completions.create(**ask("Sort this."), response_format={"type": "json_schema", "json_schema": {"name": "t", "schema": Ticket.model_json_schema()}})
        return f"Here it is:\n```json\n{answer.choices[0].message.content}\n```"

    results = BatchAgent.run_sync(agent=sort, inputs=[1, 2], output_schema=Ticket, backend=simulator)
    assert all(isinstance(r.output, Ticket) for r in results)


def test_exceptions_fail_their_row_alone() -> None:
    def check(row: dict[str, Any]) -> str:
        if row["input"] == 1:
            raise KeyError("no such key")
        if row["input"] == 2:
            sys.exit("an agent that exits")
        if row["input"] == 3:
            raise StopIteration
        return "fine"

    results = BatchAgent.run_sync(agent=check, inputs=[0, 1, 2, 3])
    assert results[0].output == "fine" and [r.error.type for r in results.failed if r.error] == ["ProgramFailed"] * 3
    assert "KeyError: 'no such key' (" in results[1].error.message and "in check)" in results[1].error.message  # type: ignore[union-attr]
    assert "an agent that exits" in results[2].error.message  # type: ignore[union-attr]


class Named(BaseModel):
    n: int = Field(alias="N")


class Both(BaseModel):
    m: int = Field(validation_alias="in", serialization_alias="out")


@dataclasses.dataclass
class Holder:
    inner: Named


@pytest.mark.parametrize("made", [Named(N=1), Both.model_validate({"in": 1}), Holder(Named(N=1)), [Named(N=1)], {"k": Named(N=1)}])
def test_aliases_name_fields_of_rows_and_answers(made: Any) -> None:
    kind = {list: list[Named], dict: dict[str, Named]}.get(type(made), type(made))

    async def give(row: Any) -> Any:
        assert row == {list: {"input": [{"n": 1}]}, dict: {"k": {"n": 1}}}.get(type(made), made)
        return made

    give.__annotations__ = {"row": Any if isinstance(made, list) else kind, "return": kind}
    results = BatchAgent.run_sync(agent=give, inputs=[made])
    assert results.outputs == [made], results[0]


class Fatal(BaseException):
    """An exception that is no Exception, like those of pytest.fail and of extensions in Rust."""


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("run", [BatchAgent.run_sync, lambda **o: asyncio.run(BatchAgent.run(**o))])
def test_exceptions_of_every_class_fail_their_row_alone(run: Any, is_async: bool) -> None:
    raised = [None, Fatal("a panic"), KeyboardInterrupt("of the agent"), asyncio.CancelledError("by itself"), GeneratorExit("at the end"), SystemExit(3)]

    def check(row: dict[str, Any]) -> str:
        error = raised[row["input"]]
        if error is not None:
            raise error
        return "fine"

    async def check_async(row: dict[str, Any]) -> str:
        await asyncio.sleep(0)
        return check(row)

    results = run(agent=check_async if is_async else check, inputs=list(range(len(raised))), max_attempts=1)
    assert results[0].output == "fine" and [r.error.type for r in results.failed] == ["ProgramFailed"] * 5
    assert "Fatal: a panic (" in results[1].error.message and "KeyboardInterrupt: of the agent (" in results[2].error.message


def test_a_task_of_an_agent_does_not_end_the_loop() -> None:
    async def exits() -> None:
        raise KeyboardInterrupt("in a task")

    async def check(row: dict[str, Any]) -> str:
        if row["input"] == 1:
            await asyncio.create_task(exits())
        return "fine"

    results = BatchAgent.run_sync(agent=check, inputs=[0, 1, 2], max_attempts=1)
    assert [r.ok for r in results] == [True, False, True] and "in a task" in results[1].error.message  # type: ignore[union-attr]


def loop(calls: list[str]) -> Any:
    @tool(share="pure")
    def find(key: str) -> str:
        """Find the text of a key."""
        calls.append(key)
        if key == "bad":
            raise ToolError("no such key")
        return "text of " + key

    @batchagent.agent(tools=[find])
    async def triage(row: dict[str, Any], llm: Any, job: Job) -> dict[str, Any]:
        tools = await job.tools()
        messages: list[Any] = [{"role": "user", "content": f'Look up "seven" for {row["input"]}'}]
        for _ in range(4):
            message = (await llm.chat.completions.create(model=job.model, messages=messages, tools=tools)).choices[0].message
            messages.append(message)
            if not message.tool_calls:
                break
            for call in message.tool_calls:
                text = await job.call_tool(call.function.name, **json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": text})
        return {"answer": message.content, "found": await job.call_tool(find, key="same")}

    return triage


def test_agents_call_the_model_and_tools(simulator: str) -> None:
    calls: list[str] = []
    results = BatchAgent.run_sync(agent=loop(calls), inputs=list(range(40)), backend=simulator, transcripts=True)
    assert not results.failed, results.failed[0]
    assert calls.count("same") == 1, "equal calls run once for all agents"
    one = results[0].fields
    assert one["turns"] == 2 and one["tools"]["asked"] == 2 and one["usage"]["completion_tokens"] > 0
    assert "text of " in json.dumps(one["transcript"])


def test_functions_that_are_not_async_run_in_threads(simulator: str) -> None:
    together = threading.Barrier(5)

    def wait(row: dict[str, Any], llm: Any, job: SyncJob) -> str:
        together.wait(20)
        assert job.tools()[0]["function"]["name"] == "find"
        with pytest.raises(ToolError, match="no such key"):
            job.call_tool("find", key="bad")
        return llm.chat.completions.create(**ask("Say hello.")).choices[0].message.content + job.call_tool("find", key="k")

    results = BatchAgent.run_sync(agent=wait, tools=loop([]).tools, inputs=list(range(5)), backend=simulator)
    assert not results.failed, results.failed[0]
    assert "hello" in results[0].output and results[0].output.endswith("text of k")


def test_a_run_that_stops_cancels_its_agents() -> None:
    ended: list[str] = []

    async def slow(row: dict[str, Any]) -> str:
        if row["input"] == 0:
            return "done"
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")
        return "never"

    async def main() -> None:
        async for result in BatchAgent.stream(agent=slow, inputs=list(range(5))):
            assert result.output == "done"
            break
        await asyncio.sleep(0)

    asyncio.run(main())
    assert ended == ["cancelled"] * 4


def test_a_time_limit_cancels_its_agent() -> None:
    ended: list[int] = []

    async def slow(row: dict[str, Any]) -> str:
        try:
            await asyncio.sleep(60 * row["input"])
        finally:
            ended.append(row["input"])
        return "done"

    results = BatchAgent.run_sync(agent=slow, inputs=[0, 1], timeouts={"job": 3})
    assert results[0].ok and not results[1].ok and sorted(ended) == [0, 1]


def test_commands_are_agents_too() -> None:
    Path("agent.py").write_text("import os, sys\nprint(sys.stdin.read() + ' for ' + os.environ['BATCHAGENT_MODEL'])\n")
    results = BatchAgent.run_sync(agent={"command": [sys.executable, str(Path("agent.py").absolute())]}, task="Sort {input}", inputs=["a"])
    assert results[0].output["text"].strip() == "Sort a for sim"


SERVED = '''
import batchagent, json

@batchagent.agent
async def echo(row, job):
    print("this is no answer")
    if row.get("fail"):
        raise ValueError("as asked")
    return {"row": row, "task": job.task, "args": job.args}

@batchagent.agent
async def ask(row, llm):
    return (await llm.chat.completions.create(model="x", messages=[{"role": "user", "content": row["text"]}])).choices[0].message.content
'''


def description(job: str, **more: Any) -> bytes:
    return json.dumps({"type": "job", "run": int(job[-1]), "job": job, "task": "t", "input": {"n": 1}, "model": "m", "url": "u", "mcp_url": "m", **more}).encode() + b"\n"


def test_the_command_serves_an_agent_on_a_socket() -> None:
    Path("served.py").write_text(SERVED)
    command = [sys.executable, "-m", "batchagent", "agents", "served:echo"]
    alone = subprocess.run(command, capture_output=True, text=True)
    assert alone.returncode == 2 and '"serve": true' in alone.stderr
    two = subprocess.run([*command[:-1], "served"], capture_output=True, text=True)
    assert two.returncode == 2 and "has 2 agents" in two.stderr
    server = subprocess.Popen(command, env={**os.environ, "BATCHAGENT_SOCKET": "s"}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: Path("s").exists())
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect("s")
            s.sendall(description("b/job-1", args={"a": [1]}) + description("b/job-2", input={"fail": True}))
            lines = s.makefile("rb")
            replies = {r["run"]: r for r in (json.loads(lines.readline()) for _ in range(2))}
            assert replies[1] == {"run": 1, "type": "answer", "output": {"row": {"n": 1}, "task": "t", "args": {"a": [1]}}}
            assert replies[2]["type"] == "failed" and replies[2]["message"].startswith("ValueError: as asked (")
    finally:
        server.send_signal(signal.SIGTERM)
        printed, _ = server.communicate(timeout=10)
    assert server.returncode == 0 and printed == b""


def test_python_tools_have_other_names_on_workers() -> None:
    triage = loop([])
    assert [wire_name(triage, n) for n in ("find", "read_file", "files.read")] == ["python__find", "read_file", "files__read"]


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_workers_run_agents(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHAGENT_API_TOKEN", cluster.token)

    @batchagent.agent(name="ask")
    async def never(row: dict[str, Any]) -> str:
        raise AssertionError("the worker runs its own program")

    results = BatchAgent.run_sync(agent=never, inputs=[{"text": f"hello {i}"} for i in range(30)], server=cluster.url)
    assert not results.failed, results.failed[0]
    assert results[3].fields["turns"] == 1 and "hello 3" in results[3].output


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_agents_of_a_killed_worker_continue_on_another(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHAGENT_API_TOKEN", cluster.token)
    other = cluster.start_worker()

    @batchagent.agent(name="twice")
    async def never(row: dict[str, Any]) -> str:
        raise AssertionError("the worker runs its own program")

    async def main() -> list[Any]:
        running = asyncio.create_task(BatchAgent.run(agent=never, inputs=[{"text": f"hello {i}"} for i in range(60)], server=cluster.url))
        between = cluster.processes.folder / "between"
        await asyncio.to_thread(wait_until, lambda: between.exists() and len(set(between.read_text().split())) == 2)
        other.kill()
        return await running

    results = asyncio.run(main())
    assert [r.index for r in results] == list(range(60)) and all(r.ok for r in results)
    assert all(r.fields["turns"] == 2 for r in results)
    again = [r for r in results if r.attempts > 1]
    assert again and any(r.fields.get("replayed") for r in again), "the other worker had some of the jobs"
    assert not any(r.fields.get("diverged_at") for r in results)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_engine_loses_and_doubles_nothing(simulator: str) -> None:
    began: list[int] = []
    rows, calls = 200, []

    @tool(share="effect")
    def book(row: int) -> str:
        """Book a row."""
        calls.append(row)
        return "booked"

    @batchagent.agent(tools=[book])
    async def twice(row: dict[str, Any], llm: Any, job: Job) -> str:
        began.append(row["input"])
        first = await llm.chat.completions.create(**ask(f"Begin {row['input']}"))
        booked = await job.call_tool(book, row=row["input"])
        second = await llm.chat.completions.create(**ask(f"{first.choices[0].message.content} {booked}"))
        return str(second.choices[0].message.content)

    options: dict[str, Any] = dict(agent=twice, inputs=list(range(rows)), name="killed", backend=simulator, max_inflight=16)

    async def main() -> None:
        seen = 0
        async for _ in BatchAgent.stream(**options):
            seen += 1
            if seen == rows // 2:
                (engine,) = [c for c in children(os.getpid()) if b"run" in Path(f"/proc/{c}/cmdline").read_bytes().split(b"\0")]
                os.kill(engine, signal.SIGKILL)

    with pytest.raises(EngineError, match="killed by SIGKILL"):
        asyncio.run(main())
    kept = [json.loads(line) for line in Path(".batchagent/killed.jsonl").read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert rows // 4 < len(kept) < rows
    del began[:]
    results = BatchAgent.run_sync(**options)
    assert [r.index for r in results] == list(range(rows)) and not results.failed
    assert all(r.fields["turns"] == 2 and r.fields["tools"]["executed"] == 1 for r in results)
    changed = dataclasses.replace(twice, func=loop([]).func)
    with pytest.raises(ValueError, match="match"):
        BatchAgent.run_sync(**{**options, "agent": changed})
    done = {line["index"]: line for line in kept}
    assert sorted(began) == [i for i in range(rows) if i not in done], "no agent runs twice"
    assert all(results[i].fields == line for i, line in done.items())
    assert set(calls) == set(range(rows))
