"""No process is left behind, and a named run goes on where it ended."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from batchagent import BatchAgent, EngineError, Results
from batchagent.engine import Engine

from harness import wait_until

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.filterwarnings("ignore::batchagent.SimulatedWarning"),
]

ROWS = 40
OPTIONS = 'task="Sort {input}", inputs=list(range(40)), name="nightly", max_inflight=2, on_result=lambda r: print(r.index, flush=True)'

SCRIPTS = {
    "async": "import asyncio\nasyncio.run(BatchAgent.run(backend=BACKEND, OPTIONS))",
    "sync": "BatchAgent.run_sync(backend=BACKEND, OPTIONS)",
    "stream": "for r in BatchAgent.stream_sync(backend=BACKEND, OPTIONS): pass",
}


def start(how: str, backend: str) -> subprocess.Popen[bytes]:
    """Start a program with a run, and wait for its first results."""
    code = "from batchagent import BatchAgent\n" + SCRIPTS[how].replace("BACKEND", repr(backend)).replace("OPTIONS", OPTIONS)
    p = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert p.stdout is not None
    for _ in range(3):
        assert p.stdout.readline()
    return p


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def resume(backend: str) -> None:
    """Run the batch again, and check that it keeps what it had."""
    kept = {json.loads(line)["index"]: line for line in Path(".batchagent/nightly.jsonl").read_bytes().splitlines(keepends=True) if line.endswith(b"\n")}
    assert 3 <= len(kept) < ROWS
    results = BatchAgent.run_sync(task="Sort {input}", inputs=list(range(ROWS)), name="nightly", max_inflight=64, backend=backend)
    assert [r.index for r in results] == list(range(ROWS)) and all(r.ok for r in results)
    for index, line in kept.items():
        assert results[index].fields == json.loads(line)


@pytest.mark.parametrize("how", SCRIPTS)
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_engine_ends_with_its_program(how: str, sent: signal.Signals, slow_simulator: str) -> None:
    p = start(how, slow_simulator)
    (engine,) = children(p.pid)
    p.send_signal(sent)
    _, said = p.communicate(timeout=20)
    wait_until(lambda: not alive(engine), 15)
    assert p.returncode != 0
    if sent == signal.SIGINT:
        assert b"KeyboardInterrupt" in said
    resume(slow_simulator)


def test_a_process_that_was_forked_keeps_no_engine_alive(slow_simulator: str) -> None:
    code = f"import os, time\nfrom batchagent import BatchAgent\nfor r in BatchAgent.stream_sync(backend={slow_simulator!r}, {OPTIONS}):\n"
    code += "    if r.index >= 0 and not os.path.exists('child'):\n        pid = os.fork()\n        if pid == 0: time.sleep(30); os._exit(0)\n        open('child', 'w').write(str(pid))"
    p = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert p.stdout is not None and p.stdout.readline() and p.stdout.readline()
    wait_until(lambda: Path("child").exists() and Path("child").read_text() != "")
    forked = int(Path("child").read_text())
    (engine,) = [c for c in children(p.pid) if c != forked]
    p.kill()
    try:
        wait_until(lambda: not alive(engine), 15)
    finally:
        os.kill(forked, signal.SIGKILL)


def test_a_crashed_engine_is_an_error_and_the_run_goes_on(slow_simulator: str) -> None:
    async def main() -> None:
        seen = 0
        async for _ in BatchAgent.stream(task="Sort {input}", inputs=list(range(ROWS)), name="nightly", max_inflight=2, backend=slow_simulator):
            seen += 1
            if seen == 3:
                (engine,) = [c for c in children(os.getpid()) if b"run" in Path(f"/proc/{c}/cmdline").read_bytes().split(b"\0")]
                os.kill(engine, signal.SIGKILL)

    with pytest.raises(EngineError, match=re.escape("killed by SIGKILL; the same call with name='nightly' runs the rest")):
        asyncio.run(main())
    resume(slow_simulator)


def test_a_budget_that_is_used_up_is_an_error_and_the_run_goes_on(slow_simulator: str) -> None:
    def run(**more: object) -> Results[Any]:
        return BatchAgent.run_sync(task="Sort {input}", inputs=list(range(ROWS)), max_inflight=2, backend=slow_simulator, **more)

    with pytest.raises(EngineError, match="the budget of this run is used up"):
        run(budget={"batch": {"tokens": 100}})
    with pytest.raises(EngineError, match=re.escape("the same call with name='nightly' runs the rest")):
        run(budget={"batch": {"tokens": 100}}, name="nightly")
    assert [r.index for r in run(name="nightly")] == list(range(ROWS))


def test_cancelling_a_task_ends_the_engine(slow_simulator: str) -> None:
    async def main() -> int:
        began = asyncio.Event()
        task = asyncio.create_task(BatchAgent.run(task="Sort {input}", inputs=list(range(ROWS)), max_inflight=1, backend=slow_simulator, on_result=lambda r: began.set()))
        await began.wait()
        (engine,) = [c for c in children(os.getpid()) if b"run" in Path(f"/proc/{c}/cmdline").read_bytes().split(b"\0")]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return engine

    assert not alive(asyncio.run(main()))


def test_a_changed_prompt_is_not_mixed_with_old_results(slow_simulator: str) -> None:
    p = start("sync", slow_simulator)
    (engine,) = children(p.pid)
    p.kill()
    p.communicate()
    wait_until(lambda: not alive(engine), 15)
    with pytest.raises(ValueError, match="--force|match"):
        BatchAgent.run_sync(task="Judge {input}", inputs=list(range(ROWS)), name="nightly", backend=slow_simulator)
    again = BatchAgent.run_sync(task="Judge {input}", inputs=list(range(ROWS)), name="nightly", max_inflight=64, backend=slow_simulator, force=True)
    assert all("Judge" in r.output["text"] for r in again)


def test_an_engine_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchagent.engine._GRACE", 0.2)

    async def main() -> int:
        engine = Engine([sys.executable, "-c", "import signal,time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"], {})
        assert await engine.next() == [b"up"]
        await engine.stop()
        return engine._process.returncode

    assert asyncio.run(main()) == -signal.SIGKILL


def test_the_folder_of_a_killed_program_is_removed_by_the_next_run(slow_simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    running, killed = start("sync", slow_simulator.replace("127.0.0.1", "localhost")), None
    try:
        (live,) = tmp_path.glob("batchagent-run-*")
        code = f"from batchagent import BatchAgent\nBatchAgent.run_sync(task='{{input}}', inputs=[1, 2], backend={slow_simulator!r}, on_result=print)"
        killed = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert killed.stdout is not None and killed.stdout.readline()
        killed.kill()
        killed.communicate()
        (stale,) = set(tmp_path.glob("batchagent-run-*")) - {live}
        BatchAgent.run_sync(task="{input}", inputs=[1], backend=slow_simulator)
        assert not stale.exists()
        assert live.exists() or running.wait(60) == 0  # a program that still runs keeps its folder
    finally:
        for p in filter(None, (running, killed)):
            p.kill()
            p.wait()
