"""Runs the engine as a child process that cannot outlive this one."""

from __future__ import annotations

import asyncio
import collections
import json
import logging
import os
import re
import secrets
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from .agents import VERSION, AgentDefinition
from .agentserver import AgentServer
from .binary import engine_binary
from .errors import EngineError, SpecError
from .folder import Folder
from .options import results_path, spec_of
from .rows import File, Rows
from .definition import Builtin, ToolDefinition
from .toolfile import SECRET, tools_file
from .toolserver import ToolServer

log = logging.getLogger("batchagent")

_READ = 1 << 18
_AHEAD = 4
"""Chunks that may wait for the consumer. Then the engine waits, too."""
_GRACE = 10.0
"""Seconds that the engine may take to stop in order."""
_USAGE, _UNREACHABLE = 2, 3


class LocalRun:
    """A batch on this machine. The caller closes it."""

    def __init__(self, o: Mapping[str, Any], output_schema: Any, tools: Sequence[Any], inputs: Rows | File | None) -> None:
        self._o, self._output_schema, self._tools, self._inputs = o, output_schema, tools, inputs
        self._out = results_path(o)
        self._open = ExitStack()
        self._folder = ""
        self._engine: Engine | None = None
        self._agents: AgentServer | None = None

    async def next(self) -> list[bytes] | None:
        """Return lines of results, or None at the end of the batch."""
        if self._engine is None:
            self._engine = await self._start()
        lines = await self._engine.next()
        if lines is None:
            self._engine.check(self._folder + os.sep, None if self._out is None else self._out.stem)
        return lines

    async def close(self) -> None:
        try:
            if self._engine is not None:
                await self._engine.stop()
        finally:
            if self._agents is not None:
                await self._agents.close()
            self._open.close()

    async def _start(self) -> Engine:
        o, tools = self._o, self._tools
        made = Folder()
        self._open.callback(made.remove)
        folder = made.path
        self._folder = str(folder)
        spec = spec_of(o, self._output_schema, tools, local=True)
        if isinstance(o.get("agent"), AgentDefinition):
            spec["agent"] = {"socket": str(folder / "agents"), "args": {VERSION: o["agent"].version}}
            self._agents = AgentServer(o["agent"])
            await self._agents.start(spec["agent"]["socket"])
        if isinstance(self._inputs, File):
            spec["inputs"] = self._inputs.path
        elif self._inputs is not None:
            spec["inputs"] = str(folder / "inputs.jsonl")
            with open(folder / "inputs.jsonl", "wb") as f:
                for lines in self._inputs.lines():
                    f.write(lines)
                    await asyncio.sleep(0)  # let other tasks of the loop run
        _write(folder / "spec.json", spec)
        command = [engine_binary(), "run", str(folder / "spec.json"), "--format", "jsonl", "--tools-root", str(o.get("tools_root") or ".")]
        for flag in ("backend", "max_inflight", "reuse", "limit", "sample", "seed"):
            if o.get(flag) is not None:
                command += [f"--{flag.replace('_', '-')}", str(o[flag])]
        if self._out is not None:
            try:
                self._out.parent.mkdir(parents=True, exist_ok=True)
            except OSError as e:
                raise SpecError(f"checkpoint_dir is {self._out.parent}: {e.strerror}") from None
            held = self._out.exists() and self._out.stat().st_size > 0
            again = ["--rerun", o["rerun"]] if o.get("rerun") and held else ["--resume"]
            command += ["--out", str(self._out), *again, "--echo", *(["--force"] if o.get("force") else [])]
        flags, env = self._serve_tools(folder)
        return Engine(command + flags, env)

    def _serve_tools(self, folder: Path) -> tuple[list[str], dict[str, str]]:
        """Serve the Python functions, and return the flags and variables with which the engine finds them."""
        functions = [t for t in self._tools if isinstance(t, ToolDefinition)]
        served = [t for t in functions if t.dsn is None]
        secret = secrets.token_urlsafe(32)
        port = self._open.enter_context(ToolServer(served, asyncio.get_running_loop(), secret)).port if served else 0
        content, env = tools_file(functions, port, Builtin("python_eval") in self._tools)
        given = self._o.get("tools_file")
        if content and given:
            raise ValueError("tools_file cannot be combined with Python functions; declare them there with `batchagent tools`")
        if content:
            given = folder / "tools.yaml"
            _write(given, content)
        return ["--tools", str(given)] if given else [], {**env, SECRET: secret}


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


class Engine:
    """One process of the engine. Its threads end with it."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[list[bytes] | None] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)
        self._ended = asyncio.Event()
        self._stopped = False
        self._said: collections.deque[str] = collections.deque(maxlen=200)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            env={**os.environ, **env, "BATCHAGENT_LIFELINE": "stdin", "NO_COLOR": "1"},
        )
        self._errors = threading.Thread(target=self._listen, name="batchagent-stderr", daemon=True)
        self._errors.start()
        threading.Thread(target=self._read, name="batchagent-stdout", daemon=True).start()

    async def next(self) -> list[bytes] | None:
        """Return lines of standard output, or None at its end."""
        chunk = await self._chunks.get()
        self._room.release()
        return chunk

    async def stop(self) -> None:
        """End the process: in order, then by force. Return when it is gone."""
        self._stopped = True
        self._room.release()  # from now on the reader does not wait
        if not self._ended.is_set():
            self._process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(self._ended.wait(), _GRACE)
        except BaseException as e:
            self._process.kill()
            if not isinstance(e, (asyncio.TimeoutError, TimeoutError)):
                raise
            await self._ended.wait()

    def check(self, folder: str, name: str | None) -> None:
        """Raise an exception unless every job has a result. With status 1, some of the results are failures."""
        code = self._process.returncode
        if code in (0, 1):
            return
        said = _message("\n".join(self._said)).replace(folder, "")
        if code == _USAGE:
            raise SpecError(said)
        if code < 0:
            said = f"the engine was killed by {signal.Signals(-code).name}"
        elif not said:
            said = f"the engine ended with status {code}"
        if code != _UNREACHABLE:
            said += "; run it again with a name to keep results" if name is None else f"; the same call with name={name!r} runs the rest"
        raise EngineError(said)

    def _read(self) -> None:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        rest: list[bytes] = []
        while data := os.read(fd, _READ):
            head, newline, tail = data.rpartition(b"\n")
            if not newline:
                rest.append(data)
                continue
            rest.append(head)
            chunk = b"".join(rest).split(b"\n")
            rest = [tail] if tail else []
            if not self._stopped:
                self._room.acquire()
                self._call(self._chunks.put_nowait, chunk)
        self._errors.join()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            _close(pipe)
        self._call(self._ended.set)
        self._call(self._chunks.put_nowait, None)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as pipe:
            for line in pipe:
                text = line.decode("utf-8", "replace").rstrip()
                self._said.append(text)
                log.info("%s", text)

    def _call(self, function: Any, *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._process.kill()


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        try:
            pipe.close()
        except OSError:
            pass


_PREFIX = re.compile(r"^(?:batchagent|coordinator): ?", re.MULTILINE)


def _message(said: str) -> str:
    """Return the engine's last message, which begins with its name and may have many lines."""
    starts = list(_PREFIX.finditer(said))
    return said[starts[-1].end() :].strip() if starts else ""
