"""Every snippet of docs/python.md runs, in order, and so does the quickstart of the predecessor."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from harness import Cluster

pytestmark = pytest.mark.filterwarnings("ignore::batchagent.SimulatedWarning")

DOCS = Path(__file__).parents[2] / "docs"


async def run(snippet: str, names: dict[str, Any]) -> None:
    code = compile(snippet, "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    done = eval(code, names)
    if inspect.isawaitable(done):
        await done


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_snippets_of_the_documentation(simulator: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("requests")
    pytest.importorskip("openai")
    monkeypatch.setenv("BATCHAGENT_API_TOKEN", cluster.token)
    monkeypatch.setenv("BATCHAGENT_BACKEND", simulator)
    Path("tickets.csv").write_text("id,text\n" + "".join(f"{i},ticket {i}\n" for i in range(4)))
    with sqlite3.connect("shop.db") as db:
        db.execute("CREATE TABLE orders (id TEXT, state TEXT)")
    snippets = re.findall(r"^```python\n(.*?)^```", (DOCS / "python.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(snippets) >= 12
    names: dict[str, Any] = {}

    async def main() -> None:
        for snippet in snippets:
            await run(snippet.replace("vllm://localhost:8000", simulator).replace("http://batches.example.org:8080", cluster.url), names)

    asyncio.run(main())
    said = capsys.readouterr().out
    assert "Results(4 rows, 4 ok, 0 failed)" in said and "1 ok {'text'" in said
    assert list(names["table"].columns)[:4] == ["id", "text", "topic", "urgent"]
    assert isinstance(names["survey"], names["Summary"])


def test_snippets_about_agents(simulator: str) -> None:
    pytest.importorskip("openai")
    Path("orders.csv").write_text("customer,state\nc-1,sent\n")
    (snippet,) = re.findall(r"^```python\n(.*?)^```", (DOCS / "agents.md").read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"tickets": [{"customer": "c-1", "text": "Where is it?"}, {"customer": "c-2", "text": "Hello?"}]}
    asyncio.run(run(snippet.replace("vllm://localhost:8000", simulator), names))
    assert all(isinstance(r.output, names["Ticket"]) for r in names["results"]), names["results"]


QUICKSTART = [
    '''
from batchagent import BatchAgent, Tool
from pydantic import BaseModel

class PaperSummary(BaseModel):
    benchmark_name: str | None
    primary_metric: str
    models_tested: list[str]
    summary: str

results = await BatchAgent.run(
    system_prompt="You are a precise scientific summarizer.",
    task="Extract benchmark info from this paper:\\n\\n{paper_text}",
    inputs=[{"paper_text": text} for text in papers],
    tools=[Tool.read_file, Tool.web_search],
    output_schema=PaperSummary,
    model="meta-llama/Llama-3.1-70B-Instruct",
    backend="vllm://localhost:8000",
    max_inflight=64,
    max_turns=4,
    max_retries=2,
    on_result=lambda r: print(r.output),
)
''',
    '''
async for result in BatchAgent.stream(task=..., inputs=...):
    if result.ok:
        process(result.output)   # Pydantic model, arrives as each agent finishes
    else:
        log_error(result.error)  # structured AgentError, not an exception
''',
    '''
results = await BatchAgent.run(
    task="Summarize: {text}",
    inputs=[{"text": t} for t in texts],
    model="anthropic.claude-sonnet-4-20250514-v1:0",
    backend="bedrock://us-east-1",
    max_inflight=2,          # start low; AIMD controller raises it automatically
)
''',
    '''
results, summary = await BatchAgent.run_with_reduce(
    task="Extract claims from: {text}",
    inputs=[{"text": t} for t in texts],
    reduce="You received {n} claim lists. Deduplicate and rank by evidence.",
    output_schema=ClaimList,
    reduce_schema=RankedClaimList,
)
''',
]


def test_quickstart_of_the_predecessor(llama_simulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippets are unchanged. Only the addresses of servers, and the two dots of one snippet, are filled in."""
    monkeypatch.setenv("BRAVE_API_KEY", "no-real-key")
    processed: list[Any] = []
    names: dict[str, Any] = {"papers": ["first paper", "second paper"], "texts": ["a", "b", "c"], "process": processed.append, "log_error": print}

    async def main() -> None:
        await run("from pydantic import BaseModel\nclass ClaimList(BaseModel):\n    claims: list[str]\nclass RankedClaimList(BaseModel):\n    ranked: list[str]", names)
        for snippet in QUICKSTART:
            snippet = snippet.replace("vllm://localhost:8000", llama_simulator).replace("bedrock://us-east-1", llama_simulator).replace("anthropic.claude-sonnet-4-20250514-v1:0", "meta-llama/Llama-3.1-70B-Instruct")
            await run(snippet.replace("task=..., inputs=...", 'task="Sum up {text}", inputs=[{"text": t} for t in texts]'), names)
            if snippet == QUICKSTART[0]:
                assert all(type(r.output).__name__ == "PaperSummary" for r in names["results"])

    asyncio.run(main())
    assert len(processed) == 3 and type(names["summary"]).__name__ == "RankedClaimList"
