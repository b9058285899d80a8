"""The tests run the engine of the installed wheel, or the one that BATCHAGENT_BINARY names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchagent.binary import engine_binary
from harness import Cluster, Processes, answers, free_port, wait_until


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, and without the user's settings."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("BATCHAGENT_") and name != "BATCHAGENT_BINARY":
            monkeypatch.delenv(name)


def simulated(folder: Path, *flags: str) -> Iterator[str]:
    processes, port = Processes(folder), free_port()
    processes.start(engine_binary(), "vllmsim", "--listen", f"127.0.0.1:{port}", *flags)
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"))
    yield f"vllm://127.0.0.1:{port}"
    processes.end()


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A simulated model server."""
    yield from simulated(tmp_path_factory.mktemp("simulator"))


@pytest.fixture(scope="session")
def slow_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A simulated model server that takes 200 ms per answer."""
    yield from simulated(tmp_path_factory.mktemp("slow"), "--forward-ms", "200")


@pytest.fixture(scope="session")
def llama_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A simulated model server with the model of the predecessor's quickstart."""
    yield from simulated(tmp_path_factory.mktemp("llama"), "--model", "meta-llama/Llama-3.1-70B-Instruct")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    yield found
    found.processes.end()
