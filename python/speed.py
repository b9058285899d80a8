"""Measures how fast rows become lines for the engine, and lines of results a DataFrame. It needs pandas, and Linux for the memory.

    python3 python/speed.py [ROWS]

Times are CPU times, because another program may share the machine.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from batchagent.result import Reader
from batchagent.results import Results
from batchagent.rows import Rows, read_inputs


class Ticket(BaseModel):
    topic: str
    count: int


def line(i: int) -> bytes:
    return json.dumps({
        "batch": "b_01k5x8zq3v6t9w2y4a7c1d0efg", "job_id": f"job-{i}", "index": i, "status": "ok", "output": {"topic": f"late order {i}", "count": i}, "error": None,
        "attempts": 1, "turns": 1, "usage": {"prompt_tokens": 81, "cached_tokens": 64, "completion_tokens": 27}, "tools": {"asked": 0, "executed": 0},
        "model": "qwen3-32b", "worker": "node-1", "wall_ms": 412, "times_ms": {"queued": 1, "decode": 400},
    }).encode()  # fmt: skip


def memory() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def measure(what: str, n: int, work: Callable[[], Any]) -> Any:
    before, began = memory(), time.process_time()
    result = work()
    print(f"{what:<32}{n / (time.process_time() - began):>12,.0f} rows/s{memory() - before:>+10,.0f} MB")
    return result


def main(n: int) -> None:
    frame = pd.DataFrame({"id": [f"T-{i}" for i in range(n)], "text": [f"ticket number {i} about a late order" for i in range(n)], "n": range(n)})
    rows = read_inputs(frame)
    assert isinstance(rows, Rows)
    measure("rows to lines", n, lambda: sum(len(chunk) for chunk in rows.lines()))
    lines = [line(i) for i in range(n)]
    print(f"{'lines of results':<32}{sum(map(len, lines)) / 1e6:>33,.0f} MB")
    for output_type in (None, Ticket):
        reader: Reader[Any] = Reader(output_type, rows)
        name = "plain" if output_type is None else "pydantic"
        results = measure(f"lines to results, {name}", n, lambda: Results([reader.read(text) for text in lines], rows=rows))
        measure(f"results to a DataFrame, {name}", n, results.to_pandas)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
