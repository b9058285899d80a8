from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "examples" / "table1" / "batchagent.py"


def test_the_program_of_table_1_has_nine_lines(simulator: str) -> None:
    text = PROGRAM.read_text()
    counted = text.split("# Table 1 counts from here.\n")[1].splitlines()
    assert len([line for line in counted if line.strip()]) <= 9
    done = subprocess.run([sys.executable, "-c", text + "\nassert len(results) == 50 and all(r.ok for r in results), results", simulator], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
