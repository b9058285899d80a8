from __future__ import annotations

import asyncio
import enum
import json
import threading
import time
import urllib.error
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import Field

from batchagent import BatchAgent, Tool, ToolError, tool
from batchagent.definition import as_text
from batchagent.exact import part_of
from batchagent.toolfile import rate, settings
from batchagent.toolserver import ToolServer

pytestmark = pytest.mark.filterwarnings("ignore::batchagent.SimulatedWarning")


class Unit(enum.Enum):
    C = "c"
    F = "f"


def test_schema_comes_from_the_signature() -> None:
    @tool(share="ttl", ttl=60, rate_limit=5, timeout=2)
    def weather(city: Annotated[str, Field(description="its name")], days: int = 3, unit: Unit = Unit.C, note: Optional[str] = None, kind: Literal["a", "b"] = "a") -> str:
        """The weather in a city.

        More text.
        """
        return f"{city} {days} {unit}"

    schema = weather.parameters
    assert weather.name == "weather" and weather.description == "The weather in a city.\n\nMore text."
    assert schema["required"] == ["city"] and schema["additionalProperties"] is False
    assert schema["properties"]["city"] == {"type": "string", "description": "its name"}
    assert schema["properties"]["days"] == {"type": "integer", "default": 3}
    assert "title" not in json.dumps(schema)
    assert weather.call(b'{"city":"Rome","unit":"f"}') == "Rome 3 Unit.F"
    assert weather("Rome", unit=Unit.F) == "Rome 3 Unit.F"
    assert settings(weather) == {"share": "ttl", "ttl": "60000ms", "timeout": "2000ms", "rate": "5/s"}


def test_parameters_may_have_any_name() -> None:
    @tool
    def ask(json: str, schema: int, model_name: str = "m") -> str:
        return f"{json} {schema} {model_name}"

    assert ask.call(b'{"json":"j","schema":1}') == "j 1 m"


def test_functions_that_cannot_be_tools_are_refused() -> None:
    with pytest.raises(TypeError, match=r"\*args"):
        tool(name="all")(lambda *args: "")
    with pytest.raises(ValueError, match="cannot be the name of a tool"):
        tool(lambda a: "")
    with pytest.raises(TypeError, match="is no tool"):
        BatchAgent.run_sync(task="{input}", inputs=[1], tools=[3])
    assert [rate(r) for r in (5, 0.5, 1 / 600)] == ["5/s", "30/m", "6/h"]


def test_define_keeps_the_names_of_batch_agent() -> None:
    @Tool.define(max_tokens=100, cacheable=False, rate_limit=2)
    async def find(key: str) -> str:
        return key

    assert Tool.registry["find"] is find and Tool.find is find  # type: ignore[attr-defined]
    assert (find.name, find.share, find.max_tokens, find.cacheable) == ("find", "inflight", 100, False)

    @Tool.define
    @Tool.batchable(key_arg="id", batch_query="SELECT id FROM t WHERE id IN ({ids})")
    async def row(id: str) -> str:
        return id

    assert (row.key_arg, row.share) == ("id", "pure")


def test_results_become_text() -> None:
    assert [as_text(v) for v in ("t", {"a": Unit.C}, None, b"b", [1, 2.5])] == ["t", '{"a":"c"}', "null", "b", "[1,2.5]"]


def transcripts(tools: list[Any], n: int = 12, **options: Any) -> list[str]:
    results = BatchAgent.run_sync(task='Look up "seven" for {input}.', inputs=list(range(n)), tools=tools, transcripts=True, **options)
    assert all(r.ok for r in results), results[0]
    return [json.dumps(r.fields["transcript"]) for r in results]


def test_agents_call_functions_and_share_equal_calls() -> None:
    calls: list[str] = []
    lock = threading.Lock()

    def slow(key: Literal["seven"]) -> str:
        """Look up a key."""
        with lock:
            calls.append(key)
        time.sleep(0.2)
        return "found-by-thread"

    async def quick(key: Literal["seven"]) -> dict[str, str]:
        """Look up a key, too."""
        calls.append("async")
        return {"found": "by-loop"}

    texts = transcripts([slow, tool(share="pure")(quick)])
    assert all("found-by-thread" in t and "by-loop" in t for t in texts)
    assert calls.count("seven") < 12 and calls.count("async") == 1


def test_a_failure_is_text_for_the_model() -> None:
    def broken(key: str) -> str:
        """Look up a key."""
        raise ToolError("the shelf is empty")

    assert "ToolError: the shelf is empty" in transcripts([broken], n=1)[0]


def test_effects_run_once_per_call() -> None:
    keys: list[str] = []

    @tool(share="effect")
    def book(seat: Literal["seven"]) -> str:
        """Book a seat."""
        keys.append(seat)
        return "booked"

    transcripts([book], n=5)
    assert len(keys) == 5


def test_batchable_with_a_database_runs_one_statement() -> None:
    import sqlite3

    with sqlite3.connect("shop.db") as db:
        db.execute("CREATE TABLE orders (id TEXT, state TEXT)")
        db.execute("INSERT INTO orders VALUES ('seven', 'sent-away')")

    @Tool.define
    @Tool.batchable(key_arg="id", batch_query="SELECT id, state FROM orders WHERE id IN ({ids})", dsn="sqlite:shop.db")
    def order_by_id(id: str) -> str:
        """Find an order."""
        raise AssertionError("the engine asks the database")

    assert "order_by_id" in transcripts([order_by_id], n=3)[0]


def test_builtin_tools() -> None:
    Path("notes.txt").write_text("the content of the notes")
    results = BatchAgent.run_sync(task="Read {path}.", inputs=[{"path": "notes.txt"}], tools=[Tool.read_file, Tool.python_eval], transcripts=True)
    assert "the content of the notes" in json.dumps(results[0].fields["transcript"])


def post(port: int, path: str, body: Any, secret: str = "s3cret", timeout: float = 10) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Authorization": f"Bearer {secret}"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()
    except TimeoutError:
        return 0, ""


def test_arguments_keep_their_digits() -> None:
    def show(x: Decimal, y: int = 0) -> str:
        return f"{x} {y}"

    call = b'{"x":12345678901234567890.123456789,"y":9007199254740993.0}'
    assert tool(show).call(call) == "12345678901234567890.123456789 9007199254740993"
    body = b'{"id":1.5,"method":"tools/call","params":{"arguments":%b,"name":"show"}}' % call
    assert part_of(body, lambda m: m["params"]["arguments"]).replace(b" ", b"") == call


class Fatal(BaseException):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def test_an_exception_of_every_class_is_a_failed_call(capsys: pytest.CaptureFixture[str]) -> None:
    raised = {"fatal": Fatal("a panic"), "stop": KeyboardInterrupt("stop"), "exit": SystemExit(3), "text": Unprintable()}

    def plain(key: str) -> str:
        raise raised[key]

    async def slow(key: str) -> str:
        await asyncio.sleep(0)
        raise raised[key]

    async def main() -> None:
        with ToolServer([tool(plain), tool(slow)], asyncio.get_running_loop(), "s3cret") as server:
            for name in ("plain", "slow"):
                replies = [await asyncio.to_thread(post, server.port, f"/call/{name}", {"key": key}) for key in raised]
                assert replies[:3] == [(422, "Fatal: a panic"), (422, "KeyboardInterrupt: stop"), (422, "SystemExit: 3")]
                assert replies[3][0] == 422 and replies[3][1].startswith("Unprintable: ")

    asyncio.run(main())
    assert capsys.readouterr().err == ""


def test_the_tool_server_needs_its_secret_and_cancels() -> None:
    state: list[str] = []

    async def slow(key: str) -> str:
        state.append("began")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            state.append("cancelled")
            raise
        return key

    async def main() -> None:
        with ToolServer([tool(slow), tool(name="echo")(lambda text: text)], asyncio.get_running_loop(), "s3cret") as server:
            ask = lambda *args, **kw: asyncio.to_thread(post, server.port, *args, **kw)  # noqa: E731
            assert await ask("/call/echo", {"text": "t"}) == (200, "t")
            assert (await ask("/call/echo", {"text": "t"}, secret="wrong"))[0] == 401
            assert (await ask("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, secret=""))[0] == 401
            assert (await ask("/call/nothing", {}))[0] == 404
            status, text = await ask("/call/echo", {"other": 1})
            assert status == 422 and "text: Field required" in text
            status, text = await ask("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "m"}}})
            assert json.loads(text)["result"] == {"content": [{"type": "text", "text": "m"}], "isError": False}
            assert (await ask("/call/slow", {"key": "k"}, timeout=0.3))[0] == 0
            for _ in range(100):
                if "cancelled" in state:
                    return
                await asyncio.sleep(0.05)
            raise AssertionError(state)

    asyncio.run(main())


def test_a_text_that_looks_like_a_placeholder_stays_a_text() -> None:
    arguments = {"text": "\0number 0\0", "price": 1.5}
    assert json.loads(part_of(json.dumps({"arguments": arguments}).encode(), lambda m: m["arguments"])) == arguments
