"""One program for the package batch-agent and for this one: argv is the name of the package and the model server."""

import asyncio
import importlib
import json
import sys

from pydantic import BaseModel

package = importlib.import_module(sys.argv[1])
BatchAgent, Tool = package.BatchAgent, package.Tool
SERVER = dict(model="sim", backend=sys.argv[2])


class Answer(BaseModel):
    summary: str
    score: int


class Plan(BaseModel):
    items: list[str]


calls: list[str] = []


@Tool.define(name="find", max_tokens=500, cacheable=True, rate_limit=100)
async def find(key: str) -> str:
    """Find the text of a key."""
    calls.append(key)
    return "text of " + key


@Tool.define
@Tool.batchable(key_arg="id", batch_query="SELECT id, state FROM orders WHERE id IN ({ids})")
async def order(id: str) -> str:
    """Find an order."""
    return "order " + id


def shape(r) -> dict:
    return {"index": r.index, "job_id": r.job_id, "ok": r.ok, "attempts": r.attempts, "error": r.error, "output": type(r.output).__name__}


async def main() -> None:
    told: list[int] = []
    inputs = [{"text": f"text {i}"} for i in range(6)]
    common = dict(task='Find "seven" for {text}', inputs=inputs, output_schema=Answer, max_inflight=4, max_turns=4, max_retries=2, **SERVER)
    results = await BatchAgent.run(system_prompt="Be short.", tools=[find, order], timeout_per_turn=30, on_result=lambda r: told.append(r.index), **common)
    streamed = [r async for r in BatchAgent.stream(**common)]
    _, reduced = await BatchAgent.run_with_reduce(reduce="You received {n} answers. Rank them.", reduce_schema=Answer, **common)
    _, mapped = await BatchAgent.run_with_map_reduce(
        plan_prompt="Ask about {topic}", plan_inputs={"topic": "salt"}, plan_output_schema=Plan, task="Answer {item}", output_schema=Answer,
        reduce="Sum up.", reduce_schema=Answer, max_concurrent=4, **SERVER,
    )
    print(json.dumps({
        "results": [shape(r) for r in results], "told": sorted(told), "streamed": sorted(r.index for r in streamed), "list": isinstance(results, list),
        "reduced": type(reduced).__name__, "mapped": type(mapped).__name__, "called": bool(calls), "find": [find.name, find.key_arg, order.key_arg],
    }))


asyncio.run(main())
