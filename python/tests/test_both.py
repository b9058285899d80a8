from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "both.py"


def outcome(package: str, backend: str) -> Any:
    done = subprocess.run([sys.executable, str(PROGRAM), package, backend], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_one_program_runs_with_this_package(simulator: str) -> None:
    ours = outcome("batchagent", simulator)
    assert ours["results"][5] == {"index": 5, "job_id": "job-5", "ok": True, "attempts": 1, "error": None, "output": "Answer"}


@pytest.mark.skipif(importlib.util.find_spec("batch_agent") is None, reason="needs batch-agent==0.2.0")
def test_it_has_the_same_outcome_with_batch_agent(simulator: str) -> None:
    assert outcome("batchagent", simulator) == outcome("batch_agent", simulator)
