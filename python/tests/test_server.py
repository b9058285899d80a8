"""Batches on a server with a worker and a real Redis."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

import httpx
import pandas as pd
import pytest
from pydantic import BaseModel

from batchagent import BatchAgent, ServerError, SpecError, tool

from harness import Cluster

pytestmark = [
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server"),
    pytest.mark.filterwarnings("ignore::batchagent.SimulatedWarning"),
]


class Ticket(BaseModel):
    topic: str
    count: int


@pytest.fixture
def url(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("BATCHAGENT_API_TOKEN", cluster.token)
    return cluster.url


@tool
def city(name: str) -> str:
    """Find a city. The workers have it from `batchagent tools`."""
    raise AssertionError("it runs at the workers' side")


@tool
def book(seat: str) -> str:
    """Book a seat."""
    raise AssertionError("it runs at the workers' side")


def test_a_batch_runs_on_the_workers(url: str) -> None:
    frame = pd.DataFrame({"text": [f"ticket {i}" for i in range(1200)]})
    results = BatchAgent.run_sync(task="Sort {text}", inputs=frame, output_schema=Ticket, server=url)
    assert [r.index for r in results] == list(range(1200)) and all(isinstance(r.output, Ticket) for r in results)
    assert results.to_pandas()["text"].equals(frame["text"])


def test_a_budget_that_is_used_up_on_the_server_is_an_error(url: str) -> None:
    with pytest.raises(ServerError, match="is paused, because its budget is used up") as raised:
        BatchAgent.run_sync(task="Sort {input}", inputs=list(range(20)), max_inflight=1, budget={"batch": {"tokens": 10}}, server=url)
    assert raised.value.kind == "paused"


def test_python_tools_serve_a_cluster(url: str) -> None:
    for function, told in ((city, "found Rome"), (book, "booked Rome")):
        results = BatchAgent.run_sync(task='Look for "Rome" {input}', inputs=[1, 2], tools=[function], transcripts=True, server=url)
        assert all(r.ok and told in json.dumps(r.fields["transcript"]) for r in results), results[0].fields


def test_stages(url: str) -> None:
    class Plan(BaseModel):
        items: list[str]

    results, summary = BatchAgent.run_with_map_reduce_sync(
        plan_prompt="Ask questions.", plan_output_schema=Plan, task="Answer {item}", output_schema=Ticket, reduce="Sum up {n}.", reduce_schema=Ticket, server=url
    )
    assert len(results) > 0 and isinstance(summary, Ticket)


def test_a_name_finds_its_batch_again(url: str) -> None:
    first = BatchAgent.run_sync(task="Sort {input}", inputs=[1, 2, 3], name="weekly", server=url)
    again = BatchAgent.run_sync(task="Sort {input}", inputs=[1, 2, 3], name="weekly", server=url)
    assert first.batch == again.batch and [r.output for r in first] == [r.output for r in again]
    with pytest.raises(ServerError, match="choose another name") as e:
        BatchAgent.run_sync(task="Sort {input}", inputs=[1, 2, 4], name="weekly", server=url)
    assert (e.value.status, e.value.kind) == (422, "key-used")


def test_files_are_sent(url: str) -> None:
    Path("rows.csv").write_text("text\nfirst\nsecond\n")
    assert "second" in BatchAgent.run_sync(task="{text}", inputs="rows.csv", server=url)[1].output["text"]
    with pytest.raises(SpecError, match="cannot read"):
        BatchAgent.run_sync(task="{text}", inputs="rows.parquet", server=url)


def test_rows_are_chosen_and_run_again(url: str) -> None:
    frame = pd.DataFrame({"key": [f"k{i}" for i in range(40)], "text": [f"ticket {i}" for i in range(40)]}, index=range(100, 140))
    some = BatchAgent.run_sync(task="{text}", inputs=frame, id="{key}", sample=5, seed=3, server=url)
    assert len(some) == 5 and [r.index for r in some] != list(range(5))
    assert all(r.id == f"k{r.index}" and frame["text"].iloc[r.index] in r.output["text"] for r in some)
    assert list(some.to_pandas().index) == [100 + r.index for r in some]
    assert [r.index for r in BatchAgent.run_sync(task="{text}", inputs=frame, limit=3, server=url)] == [0, 1, 2]
    first = BatchAgent.run_sync(task="First {text}", inputs=frame, id="{key}", name="again", server=url)
    rerun = {"batch": first.batch, "where": 'id == "k7"'}
    second = BatchAgent.run_sync(task="Second {text}", inputs=frame, id="{key}", name="again", rerun=rerun, server=url)
    assert [r.index for r in second if "Second" in r.output["text"]] == [7] and len(second) == 40
    with pytest.raises(SpecError, match="condition"):
        BatchAgent.run_sync(task="{text}", inputs=frame, rerun={"batch": first.batch, "where": "faild"}, server=url)


def test_leaving_cancels_a_batch_without_a_name(url: str, cluster: Cluster) -> None:
    async def leave() -> None:
        async for _ in BatchAgent.stream(task="Sort {input}", inputs=list(range(3000)), server=url):
            break

    asyncio.run(leave())
    listed = httpx.get(f"{url}/api/v1/batches", params={"limit": 1}, headers={"Authorization": f"Bearer {cluster.token}"}, trust_env=False).json()
    newest = (listed["batches"] if isinstance(listed, dict) else listed)[0]
    assert "cancel" in json.dumps(newest).lower()


def test_mistakes_name_fields(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="txet"):
        BatchAgent.run_sync(task="{txet}", inputs=[{"text": 1}], server=url)
    monkeypatch.setenv("BATCHAGENT_API_TOKEN", "wrong" * 8)
    with pytest.raises(ServerError) as e:
        BatchAgent.run_sync(task="{input}", inputs=[1], server=url)
    assert e.value.status == 401
