"""Programs that the tests start, and waits for them."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from batchagent.binary import engine_binary


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


class Processes:
    """Starts programs, and ends those and no others."""

    def __init__(self, folder: Path) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self.folder = folder

    def start(self, *command: str, **env: str) -> subprocess.Popen[bytes]:
        log = open(self.folder / f"{len(self.started)}.log", "wb")
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **env}, cwd=self.folder)
        self.started.append(p)
        return p

    def end(self) -> None:
        for p in reversed(self.started):
            p.terminate()
        for p in reversed(self.started):
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()


class Cluster:
    """A Redis, a simulated model server, a worker and a server."""

    def __init__(self, folder: Path) -> None:
        self.processes = Processes(folder)
        self.token = secrets.token_hex(16)
        redis, sim, api, tools = free_port(), free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{api}"
        start, engine = self.processes.start, engine_binary()
        start("redis-server", "--port", str(redis), "--save", "", "--appendonly", "no")
        start(engine, "vllmsim", "--listen", f"127.0.0.1:{sim}", "--forward-ms", "5")
        (folder / "pytools.py").write_text(TOOLS)
        start(sys.executable, "-m", "batchagent", "tools", "pytools:tools", "--listen", f"127.0.0.1:{tools}", BATCHAGENT_TOOLS_TOKEN=self.token)
        printed = folder / "2.log"
        wait_until(lambda: "serving" in printed.read_text())
        entry = json.loads(printed.read_text().partition("\n")[2].replace("serving city, book", ""))
        (folder / "served.py").write_text(AGENT)
        entry["programs"] = {"ask": {"argv": [sys.executable, "-m", "batchagent", "agents", "served:ask"], "serve": True, "dir": str(folder)}}
        (folder / "tools.yaml").write_text(json.dumps(entry))
        to = ["--redis", f"redis://127.0.0.1:{redis}"]
        wait_until(lambda: answers(f"http://127.0.0.1:{sim}/health"))
        start(engine, "serve", *to, "--listen", f"127.0.0.1:{api}", BATCHAGENT_API_TOKEN=self.token)
        start(engine, "worker", *to, "--backend", f"vllm://127.0.0.1:{sim}", "--tools", "tools.yaml", BATCHAGENT_TOOLS_TOKEN=self.token)
        wait_until(lambda: answers(f"{self.url}/readyz") and "worker started" in (folder / "4.log").read_text())


TOOLS = '''
from batchagent import tool

@tool(share="pure")
def city(name: str) -> str:
    """Find a city."""
    return "found " + name

@tool(share="effect")
async def book(seat: str) -> str:
    """Book a seat."""
    return "booked " + seat

tools = [city, book]
'''

AGENT = '''
import batchagent

@batchagent.agent
async def ask(row, llm):
    answer = await llm.chat.completions.create(model="any", messages=[{"role": "user", "content": row["text"]}])
    return answer.choices[0].message.content
'''
