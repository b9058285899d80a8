"""Runs an agent for many jobs. The engine connects to a Unix socket, and each message is one line of JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

from .agents import AgentDefinition, complaint, encoded
from .job import Job, SyncJob
from .raised import Raised, by_user, wrapped

log = logging.getLogger("batchagent")

_MAX_LINE = 64 << 20


class AgentServer:
    """Listens on a socket. Each job is a task of the event loop; a function that is not async runs in a thread of its own."""

    def __init__(self, agent: AgentDefinition, wire: Callable[[str], str] = str) -> None:
        need_openai(agent)
        self._agent = agent
        self._wire = wire
        self._server: asyncio.AbstractServer | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, path: str) -> None:
        self._server = await asyncio.start_unix_server(self._accept, path, limit=_MAX_LINE)

    async def close(self) -> None:
        """Cancel all jobs and wait for their ends."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer), name="batchagent-agents")
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        jobs: dict[int, asyncio.Task[None]] = {}
        left: set[asyncio.Task[None]] = set()
        try:
            while line := await reader.readline():
                message = json.loads(line)
                run = message["run"]
                if message["type"] == "job":
                    jobs[run] = asyncio.create_task(self._run(message, jobs, writer), name=message["job"])
                    left.add(jobs[run])
                    jobs[run].add_done_callback(left.discard)
                elif run in jobs:
                    jobs.pop(run).cancel()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            jobs.clear()
            for job in left:
                job.cancel()
            writer.close()
            await asyncio.gather(*left, return_exceptions=True)

    async def _run(self, description: dict[str, Any], jobs: dict[int, asyncio.Task[None]], writer: asyncio.StreamWriter) -> None:
        """Run one job and send its answer, unless the job was cancelled meanwhile."""
        run, name = description["run"], description["job"]
        try:
            reply = b'"type":"answer","output":' + encoded(await self._answer(description), description.get("schema"))
        except BaseException as e:
            if by_user(e):
                raise
            error = e.error if isinstance(e, Raised) else e
            if run in jobs:
                log.info("agent %s of %s failed", self._agent.name, name, exc_info=error)
            reply = b'"type":"failed","message":' + json.dumps(complaint(error)).encode()
        if run not in jobs or writer.is_closing():
            return
        del jobs[run]
        writer.write(b'{"run":' + str(run).encode() + b"," + reply + b"}\n")
        try:
            await writer.drain()
        except ConnectionError:
            pass  # the engine starts the job again

    async def _answer(self, description: dict[str, Any]) -> Any:
        row = self._agent.row(description["input"])
        if not self._agent.is_async:
            return await _in_thread(self._plain, row, description)
        job = Job(description, self._wire)
        try:
            return await self._agent.func(row, **self._arguments(job))
        finally:
            await job.close()

    def _plain(self, row: Any, description: dict[str, Any]) -> Any:
        job = SyncJob(description, self._wire)
        try:
            return self._agent.func(row, **self._arguments(job))
        finally:
            job.close()

    def _arguments(self, job: Job | SyncJob) -> dict[str, Any]:
        return {name: job.llm if name == "llm" else job for name in self._agent.wants}


def need_openai(agent: AgentDefinition) -> None:
    """Raise an exception if the agent takes an llm and the package openai is missing."""
    if "llm" not in agent.wants:
        return
    try:
        import openai  # noqa: F401
    except ImportError:
        raise ImportError(f"agent {agent.name} takes llm, which needs the package openai: pip install 'batchagent[agents]'") from None


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a thread that does not keep the program alive. If the task is cancelled, the thread's result is dropped."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def work() -> None:
        value: Any = None
        error: Exception | None = None
        try:
            value = function(*args)
        except BaseException as e:
            error = wrapped(e)
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:  # the loop is closed
            pass

    threading.Thread(target=work, name="batchagent-agent", daemon=True).start()
    return await future
