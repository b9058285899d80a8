"""Runs a batch on the workers of a server, through its HTTP API."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from .errors import ServerError, SpecError
from .options import spec_of
from .rows import File, Rows

log = logging.getLogger("batchagent")

_PAGE = 1000
_WAIT = 20
_TRIES = 8
_BLOCK = 1 << 18


async def run_on_server(
    url: str, o: Mapping[str, Any], output_schema: Any, tools: Sequence[Any], inputs: Rows | File | None
) -> AsyncIterator[list[bytes]]:
    """Submit a batch and yield the lines of its results. If the caller stops, a batch without a name is cancelled."""
    spec = spec_of(o, output_schema, tools, local=False)
    token = os.environ.get("BATCHAGENT_API_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = httpx.Timeout(60, read=300)
    local = httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")
    async with httpx.AsyncClient(base_url=url.rstrip("/") + "/api/v1/", headers=headers, timeout=timeout, trust_env=not local) as client:
        batch = await _submit(client, spec, inputs, o.get("name"))
        done = False
        try:
            stages = [f"{batch}.plan"] * ("plan" in spec) + [batch] + [f"{batch}.reduce"] * ("reduce" in spec)
            for stage in stages:
                async for chunk in _results(client, stage):
                    yield chunk
            done = True
        finally:
            if not done:
                await _leave(client, batch, o.get("name"))


async def _submit(client: httpx.AsyncClient, spec: dict[str, Any], inputs: Rows | File | None, name: str | None) -> str:
    body = _body(spec, inputs)
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": f"python-{quote(name) if name else uuid.uuid4().hex}"}
    response = await _request(client, lambda: client.build_request("POST", "batches", content=_async(body()), headers=headers))
    answer = response.json()
    for message in answer["messages"]:
        log.warning("%s", message)
    log.info("batch %s: %s jobs", answer["id"], answer["total"])
    return str(answer["id"])


def _body(spec: dict[str, Any], inputs: Rows | File | None) -> Callable[[], Iterator[bytes]]:
    if isinstance(inputs, File):
        kind = Path(inputs.path).suffix.lower().lstrip(".")
        if kind not in ("jsonl", "ndjson", "csv", "tsv"):
            raise SpecError(f"inputs: the server cannot read {inputs.path}; use a .jsonl or .csv file, or pass the rows")
        if not Path(inputs.path).is_file():
            raise SpecError(f"inputs: {inputs.path} is no file")
        spec["inputs"] = {"stdin": "jsonl" if kind == "ndjson" else kind}

    def chunks() -> Iterator[bytes]:
        yield json.dumps({"spec": spec}, ensure_ascii=False).encode() + b"\n"
        if isinstance(inputs, Rows):
            yield from inputs.lines()
        elif inputs is not None:
            with open(inputs.path, "rb") as f:
                while block := f.read(_BLOCK):
                    yield block

    return chunks


async def _async(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _results(client: httpx.AsyncClient, batch: str) -> AsyncIterator[list[bytes]]:
    after = "0"
    while True:
        query = {"after": after, "limit": str(_PAGE), "wait": str(_WAIT)}
        response = await _request(client, lambda q=query: client.build_request("GET", f"batches/{batch}/results", params=q))  # type: ignore[misc]
        lines = response.content.splitlines()
        if lines:
            yield lines
        elif response.headers.get("Batchagent-Phase") == "DONE":
            return
        after = response.headers["Batchagent-Next-Cursor"]


async def _leave(client: httpx.AsyncClient, batch: str, name: str | None) -> None:
    if name is not None:
        log.warning("batch %s continues on the server; the same call with name=%r collects it", batch, name)
        return
    try:
        await client.post(f"batches/{batch}/cancel", timeout=5)
    except httpx.HTTPError:
        log.warning("batch %s could not be cancelled; use: batchagent cancel %s", batch, batch)


async def _request(client: httpx.AsyncClient, build: Callable[[], httpx.Request]) -> httpx.Response:
    """Send a request that may be repeated. It is repeated while the server is away or busy."""
    for attempt in range(_TRIES):
        wait = min(0.5 * 2**attempt, 10.0)
        last = attempt == _TRIES - 1
        try:
            response = await client.send(build())
        except (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.TimeoutException) as e:
            if last:
                raise ServerError(f"the server {client.base_url.copy_with(path='/')} does not answer: {e or type(e).__name__}") from None
        else:
            if response.is_success:
                return response
            if last or response.status_code not in (429, 502, 503, 504):
                raise _problem(response)
            after = response.headers.get("Retry-After", "")
            wait = float(after) if after.isdigit() else wait
        await asyncio.sleep(wait)
    raise AssertionError("unreachable")


def _problem(response: httpx.Response) -> Exception:
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    kind = str(problem.get("type", "")).rpartition(":")[2]
    text = problem.get("detail") or f"the server answers {response.status_code}"
    if kind == "invalid":
        return SpecError(text)
    if kind == "key-used":
        text = f"{text}; the name was used for another batch: choose another name"
    return ServerError(text, status=response.status_code, kind=kind)
