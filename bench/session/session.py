"""Measures what a program gains when batchagent runs it: agents of a stock framework (pydantic-ai), directly on a model server and as a batch.

Each agent is a conversation of several turns with waits between them, as between the calls of tools. In both arms the same function runs as one
asyncio task for each agent in one Python process. The direct arm starts all tasks at once. The arms take turns in each round. All agents
share a system prompt; it differs between the arms and rounds, so no run finds the tokens of another one in the cache.

    pip install batchagent "pydantic-ai-slim[openai]"
    python bench/session/session.py --url http://127.0.0.1:8000

--url is a vLLM or SGLang server, or a vllmsim. The figures are in bench/README.md.
"""

import argparse
import asyncio
import random
import statistics
import time

import httpx
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import batchagent
from batchagent import BatchAgent


def words(seed: str, n: int) -> str:
    source = random.Random(seed)
    return " ".join("".join(source.choices("abcdefghijklmnoprstuvwxyz", k=source.randint(2, 6))) for _ in range(n))


async def converse(row: dict, llm: AsyncOpenAI, model: str) -> dict:
    """One agent. It returns the counts of its prompt tokens."""
    settings = {"max_tokens": row["output"], "temperature": 0.0}
    agent = Agent(OpenAIChatModel(model, provider=OpenAIProvider(openai_client=llm)), system_prompt=row["system"], model_settings=settings)
    history, prompt, cached = [], 0, 0
    for turn in range(row["turns"]):
        if turn:
            await asyncio.sleep(row["wait"])
        answer = await agent.run(words(f"{row['name']} {turn}", row["words"]), message_history=history)
        history = answer.all_messages()
        used = answer.usage
        prompt, cached = prompt + used.input_tokens, cached + used.cache_read_tokens
    return {"prompt": prompt, "cached": cached}


@batchagent.agent
async def conversation(row, llm, job):
    return await converse(row, llm, job.model)


def rows(args: argparse.Namespace, run: str) -> list[dict]:
    system = words(run, args.prefix)
    return [
        {"name": f"{run} {i}", "system": system, "turns": args.turns, "words": args.words, "wait": args.wait, "output": args.output}
        for i in range(args.agents)
    ]


async def direct(args: argparse.Namespace, run: str) -> list[dict]:
    async with AsyncOpenAI(base_url=args.url + "/v1", api_key="none", timeout=3600, max_retries=5) as llm:
        return await asyncio.gather(*(converse(row, llm, args.model) for row in rows(args, run)))


async def session(args: argparse.Namespace, run: str) -> list[dict]:
    results = await BatchAgent.run(
        agent=conversation, inputs=rows(args, run), backend=args.url.replace("http", "vllm", 1), model=args.model, progress=False,
    )
    for r in results:
        if not r.ok:
            raise SystemExit(f"job {r.index}: {r.error}")
    return [r.output for r in results]


async def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--url", required=True)
    p.add_argument("--agents", type=int, default=16)
    p.add_argument("--turns", type=int, default=8)
    p.add_argument("--prefix", type=int, default=120, help="words of the system prompt")
    p.add_argument("--words", type=int, default=85, help="new words in each turn")
    p.add_argument("--wait", type=float, default=0.2, help="seconds between two turns")
    p.add_argument("--output", type=int, default=8, help="tokens of each answer")
    p.add_argument("--rounds", type=int, default=3)
    args = p.parse_args()
    args.model = httpx.get(args.url + "/v1/models").json()["data"][0]["id"]
    arms = {"direct": direct, "session": session}
    wall: dict[str, list[float]] = {name: [] for name in arms}
    for n in range(args.rounds):
        for name, arm in arms.items():
            begun = time.monotonic()
            used = await arm(args, f"{name} {n} {time.time()}")
            wall[name].append(time.monotonic() - begun)
            prompt, cached = sum(u["prompt"] for u in used), sum(u["cached"] for u in used)
            with open("/proc/loadavg") as load:
                print(f"round {n + 1}  {name:8} {wall[name][-1]:7.1f} s  prompt {prompt}  cached {cached / prompt:.2f}  load {load.read().split()[0]}", flush=True)
    ratios = [d / s for d, s in zip(wall["direct"], wall["session"])]
    print(f"throughput of the session over direct: {statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]")


asyncio.run(main())
