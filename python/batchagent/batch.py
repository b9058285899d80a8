"""The entry points: run, stream, reduce and plan, async and sync."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import re
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar, overload

from typing_extensions import Unpack

from .engine import LocalRun
from .errors import ReduceError, SimulatedWarning
from .options import Options, answer_type, tools_of, translated
from .progress import Progress
from .result import AgentResult, Reader, schema_of, type_of
from .results import Results
from .rows import File, Rows, read_inputs
from .server import ServerRun

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger("batchagent")


class Batch:
    """One call: its arguments, and what has been read of its results."""

    def __init__(self, options: Mapping[str, Any], output_schema: Any, stages: Mapping[str, Any] | None = None) -> None:
        self.o = translated({**options, **(stages or {})})
        self.tools = tools_of(self.o)
        output_schema = answer_type(self.o, output_schema)
        self.inputs: Rows | File | None = None if "plan" in self.o else read_inputs(self.o["inputs"])
        self.rows = self.inputs if isinstance(self.inputs, Rows) else None
        self.reader: Reader[Any] = Reader(type_of(output_schema), self.rows)
        self.progress = Progress(self.o.get("name") or "batch", None if self.rows is None else len(self.rows), self.o.get("progress"))
        server = self.o.get("server")
        args = (self.o, output_schema, self.tools, self.inputs)
        self.source = ServerRun(server, *args) if server else LocalRun(*args)
        self.warned = False
        self.id = ""
        self.stages: dict[str, bytes] = {}
        """The last result line of the planner and of the reducer."""

    async def stream(self) -> AsyncIterator[AgentResult[Any]]:
        try:
            while (part := await self.next()) is not None:
                for result in part:
                    yield result
        finally:
            await self.close()

    async def results(self) -> Results[Any]:
        by_index: dict[int, AgentResult[Any]] = {}
        try:
            while (part := await self.next()) is not None:
                for result in part:
                    by_index[result.index] = result  # of two results, the later one counts
        finally:
            await self.close()
        return Results((by_index[i] for i in sorted(by_index)), batch=self.id, rows=self.rows)

    async def next(self) -> list[AgentResult[Any]] | None:
        """Return the results that arrived together, or None at the end of the batch."""
        if self.rows is not None and len(self.rows) == 0:
            return None
        lines = await self.source.next()
        if lines is None:
            return None
        if isinstance(self.source, ServerRun):
            self.reader.chosen = self.source.rows
        part = [self.reader.read(line) for line in lines if not self._of_stage(line)]
        if part and not self.warned and part[0].fields.get("simulated"):
            self.warned = True
            warnings.warn("the answers are simulated: no model was asked; pass backend=\"vllm://host:8000\"", SimulatedWarning, stacklevel=2)
        failed = sum(1 for result in part if result.error is not None)
        self.progress.add(len(part) - failed, failed)
        on_result = self.o.get("on_result")
        if on_result is not None:
            for result in part:
                await _notify(on_result, result)
        return part

    async def close(self) -> None:
        try:
            await self.source.close()
        finally:
            self.progress.close()

    def reduced(self, schema: Any, results: Results[Any]) -> Any:
        """Return the reducer's output, or raise an exception with the results of the rows."""
        for stage, what in (("plan", "planner"), ("reduce", "reducer")):
            line = self.stages.get(stage)
            if line is None:
                if stage == "reduce":
                    raise ReduceError("the reducer was not run", error=None, results=results)
                continue
            reader: Reader[Any] = Reader(type_of(schema) if stage == "reduce" else None)
            result = reader.read(line)
            if result.error is not None:
                raise ReduceError(f"the {what} failed: {result.error.type}: {result.error.message}", error=result.error, results=results)
        return result.output

    def _of_stage(self, line: bytes) -> bool:
        """Keep the result of the planner or the reducer. It is no row's."""
        if line.startswith(b'{"batch":"'):
            batch = line[10 : line.index(b'"', 10)].decode()
        else:
            batch = str(json.loads(line)["batch"])
        self.id, _, stage = batch.partition(".")
        if stage:
            self.stages[stage] = line
        return bool(stage)


class BatchAgent:
    """Runs one task over many inputs. Every field of a spec is an argument; see :class:`Options`."""

    @overload
    @classmethod
    async def run(cls, *, output_schema: type[T], **options: Unpack[Options]) -> Results[T]: ...
    @overload
    @classmethod
    async def run(cls, *, output_schema: dict[str, Any] | str | os.PathLike[str] | None = None, **options: Unpack[Options]) -> Results[Any]: ...
    @classmethod
    async def run(cls, *, output_schema: Any = None, **options: Any) -> Results[Any]:
        """Run a batch and return its results in the order of the inputs."""
        return await Batch(options, output_schema).results()

    @overload
    @classmethod
    def stream(cls, *, output_schema: type[T], **options: Unpack[Options]) -> AsyncIterator[AgentResult[T]]: ...
    @overload
    @classmethod
    def stream(cls, *, output_schema: dict[str, Any] | str | os.PathLike[str] | None = None, **options: Unpack[Options]) -> AsyncIterator[AgentResult[Any]]: ...
    @classmethod
    def stream(cls, *, output_schema: Any = None, **options: Any) -> AsyncIterator[AgentResult[Any]]:
        """Run a batch and yield each result when its row is done. If the loop ends early, the batch is stopped."""
        return Batch(options, output_schema).stream()

    @classmethod
    async def run_with_reduce(
        cls, *, reduce: str | Mapping[str, Any], reduce_schema: Any = None, output_schema: Any = None, **options: Unpack[Options]
    ) -> tuple[Results[Any], Any]:
        """Run a batch, then one more job over all results. Return the results and its output.

        ``reduce`` is the prompt, with ``{n}`` and ``{results}``, or the whole field of a spec. If the reducer fails, a
        :class:`ReduceError` has the results.
        """
        return await _reduced(options, output_schema, {"reduce": _reduce(reduce, reduce_schema)}, reduce_schema)

    @classmethod
    async def run_with_map_reduce(
        cls,
        *,
        plan_prompt: str,
        task: str,
        reduce: str | Mapping[str, Any],
        plan_inputs: Mapping[str, Any] | None = None,
        plan_output_schema: Any = None,
        output_schema: Any = None,
        reduce_schema: Any = None,
        planner_model: str | None = None,
        worker_model: str | None = None,
        reducer_model: str | None = None,
        max_items: int | None = None,
        **options: Any,
    ) -> tuple[Results[Any], Any]:
        """Let an agent make the inputs, run the task over them, and reduce the results.

        The planner's output has a list ``items``. The task has ``{item}``, or the fields of an item.
        """
        plan = _present({
            "task": _filled(plan_prompt, plan_inputs or {}), "output_schema": schema_of(plan_output_schema), "model": planner_model, "max_items": max_items,
            "tools": [t for t in options.get("tools") or ()],
        })
        stages = {"plan": plan, "reduce": _reduce(reduce, reduce_schema, reducer_model), "task": task}
        if worker_model is not None:
            options["model"] = worker_model
        return await _reduced(options, output_schema, stages, reduce_schema)

    @overload
    @classmethod
    def run_sync(cls, *, output_schema: type[T], **options: Unpack[Options]) -> Results[T]: ...
    @overload
    @classmethod
    def run_sync(cls, *, output_schema: dict[str, Any] | str | os.PathLike[str] | None = None, **options: Unpack[Options]) -> Results[Any]: ...
    @classmethod
    def run_sync(cls, *, output_schema: Any = None, **options: Any) -> Results[Any]:
        """:meth:`run` for code that is not async. It also works in a notebook."""
        with _Loop() as loop:
            return loop.run(cls.run(output_schema=output_schema, **options))

    @overload
    @classmethod
    def stream_sync(cls, *, output_schema: type[T], **options: Unpack[Options]) -> Iterator[AgentResult[T]]: ...
    @overload
    @classmethod
    def stream_sync(cls, *, output_schema: dict[str, Any] | str | os.PathLike[str] | None = None, **options: Unpack[Options]) -> Iterator[AgentResult[Any]]: ...
    @classmethod
    def stream_sync(cls, *, output_schema: Any = None, **options: Any) -> Iterator[AgentResult[Any]]:
        """:meth:`stream` for code that is not async."""
        batch = Batch(options, output_schema)
        with _Loop() as loop:
            results = batch.stream()
            try:
                while True:
                    try:
                        yield loop.run(results.__anext__())  # type: ignore[arg-type]
                    except StopAsyncIteration:
                        return
            finally:
                loop.run(results.aclose())  # type: ignore[attr-defined]

    @classmethod
    def run_with_reduce_sync(cls, **options: Any) -> tuple[Results[Any], Any]:
        """:meth:`run_with_reduce` for code that is not async."""
        with _Loop() as loop:
            return loop.run(cls.run_with_reduce(**options))

    @classmethod
    def run_with_map_reduce_sync(cls, **options: Any) -> tuple[Results[Any], Any]:
        """:meth:`run_with_map_reduce` for code that is not async."""
        with _Loop() as loop:
            return loop.run(cls.run_with_map_reduce(**options))


async def _reduced(options: Mapping[str, Any], output_schema: Any, stages: Mapping[str, Any], schema: Any) -> tuple[Results[Any], Any]:
    batch = Batch(options, output_schema, stages)
    results = await batch.results()
    return results, batch.reduced(schema, results)


def _reduce(reduce: str | Mapping[str, Any], schema: Any, model: str | None = None) -> dict[str, Any]:
    stage = {"task": reduce} if isinstance(reduce, str) else dict(reduce)
    return _present({**stage, "output_schema": schema_of(stage.get("output_schema") if schema is None else schema), "model": model or stage.get("model")})


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None and v != []}


_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _filled(prompt: str, values: Mapping[str, Any]) -> str:
    """Fill in the planner's prompt, which has no inputs of its own. Braces of the values stay text."""

    def fill(m: re.Match[str]) -> str:
        if m[1] not in values:
            return m[0]
        value = values[m[1]]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        return _PLACEHOLDER.sub(r"{{\1}}", text)

    return _PLACEHOLDER.sub(fill, prompt)


async def _notify(on_result: Callable[[AgentResult[Any]], Any], result: AgentResult[Any]) -> None:
    try:
        answer = on_result(result)
        if inspect.isawaitable(answer):
            await answer
    except Exception:
        log.exception("on_result failed for row %d; the result is kept", result.index)


class _Loop:
    """An event loop in a thread of its own, so that it also works where a loop runs already."""

    def __enter__(self) -> _Loop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="batchagent-loop", daemon=True)
        self._thread.start()
        return self

    def _serve(self) -> None:
        while True:
            try:
                return self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                pass  # a task raised it; whoever waits for the task gets it, too

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run to the end. After a KeyboardInterrupt, cancel the work and wait for its end first."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
                asyncio.run_coroutine_threadsafe(_settled(), self._loop).result()
            raise

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _settled() -> None:
    """Wait for all other tasks of the loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)
