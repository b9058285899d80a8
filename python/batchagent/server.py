"""Runs a batch on the workers of a server, through its HTTP API."""

from __future__ import annotations

import asyncio
import hashlib
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


class ServerRun:
    """A batch on the workers of a server. If it is closed early, a batch without a name is cancelled."""

    def __init__(self, url: str, o: Mapping[str, Any], output_schema: Any, tools: Sequence[Any], inputs: Rows | File | None) -> None:
        self._spec = spec_of(o, output_schema, tools, local=False)
        self._inputs = inputs
        self._name: str | None = o.get("name")
        token = os.environ.get("BATCHAGENT_API_TOKEN")
        self._base = url.rstrip("/") + "/api/v1/"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._proxies = httpx.URL(url).host not in ("127.0.0.1", "localhost", "::1")
        self._client: httpx.AsyncClient | None = None
        self._batch = ""
        self._stages: list[str] = []
        self._after = "0"
        self._chosen = {name: o[name] for name in ("limit", "sample", "seed", "rerun") if o.get(name) is not None}
        self.rows: list[int] | None = None
        """The row of each job by index. None if they are the same."""

    async def next(self) -> list[bytes] | None:
        """Return lines of results, or None at the end of the batch."""
        if self._client is None:
            timeout = httpx.Timeout(60, read=300)
            self._client = httpx.AsyncClient(base_url=self._base, headers=self._headers, timeout=timeout, trust_env=self._proxies)
            self._batch, self.rows = await _submit(self._client, self._spec, self._chosen, self._inputs, self._name)
            parts = [".plan"] * ("plan" in self._spec) + [""] + [".reduce"] * ("reduce" in self._spec)
            self._stages = [self._batch + part for part in parts]
        while self._stages:
            client, stage = self._client, self._stages[0]
            query = {"after": self._after, "limit": str(_PAGE), "wait": str(_WAIT)}
            response = await _request(client, lambda: client.build_request("GET", f"batches/{stage}/results", params=query))
            lines = response.content.splitlines()
            self._after = response.headers["Batchagent-Next-Cursor"]
            if lines:
                return lines
            if response.headers.get("Batchagent-Phase") == "DONE":
                self._after = "0"
                del self._stages[0]
            else:
                await self._check_budget(client, stage)
        return None

    async def _check_budget(self, client: httpx.AsyncClient, stage: str) -> None:
        """Raise an exception if the batch waits for a larger budget."""
        info = (await _request(client, lambda: client.build_request("GET", f"batches/{stage}"))).json()
        if info.get("paused"):
            advice = f"raise it with `batchagent budget {self._batch}`"
            if self._name is not None:
                advice += f"; then the same call with name={self._name!r} collects the rest"
            raise ServerError(f"batch {stage} is paused, because its budget is used up: {advice}", kind="paused")

    async def close(self) -> None:
        if self._batch and self._stages:
            self._leave()
        if self._client is not None:
            await self._client.aclose()

    def _leave(self) -> None:
        """Cancel the batch. It blocks for a moment, because the event loop may be ending."""
        batch = self._batch
        if self._name is not None:
            log.warning("batch %s continues on the server; the same call with name=%r collects it", batch, self._name)
            return
        try:
            httpx.post(f"{self._base}batches/{batch}/cancel", headers=self._headers, timeout=5, trust_env=self._proxies)
        except httpx.HTTPError:
            log.warning("batch %s could not be cancelled; use: batchagent cancel %s", batch, batch)


async def _submit(
    client: httpx.AsyncClient, spec: dict[str, Any], chosen: dict[str, Any], inputs: Rows | File | None, name: str | None
) -> tuple[str, list[int] | None]:
    body = _body(spec, chosen, inputs)
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": _key(name, chosen)}
    response = await _request(client, lambda: client.build_request("POST", "batches", content=_async(body()), headers=headers))
    answer = response.json()
    for notice in answer["notices"]:
        log.warning("%s", notice["text"])
    log.info("batch %s: %s jobs", answer["id"], answer["total"])
    return str(answer["id"]), answer.get("rows")


def _key(name: str | None, chosen: dict[str, Any]) -> str:
    """The key of a submission. Rows of a named batch that were chosen, or run again, are another batch of this name."""
    if name is None:
        return f"python-{uuid.uuid4().hex}"
    key = f"python-{quote(name)}"
    if chosen:
        key += "-" + hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]
    return key


def _body(spec: dict[str, Any], chosen: dict[str, Any], inputs: Rows | File | None) -> Callable[[], Iterator[bytes]]:
    if isinstance(inputs, File) and inputs.path.startswith("s3://"):
        raise SpecError(f"inputs: the server reads no objects with its own credentials; read {inputs.path} here, for example with pandas, and pass the rows")
    if isinstance(inputs, File):
        kind = Path(inputs.path).suffix.lower().lstrip(".")
        if kind not in ("jsonl", "ndjson", "csv", "tsv"):
            raise SpecError(f"inputs: the server cannot read {inputs.path}; use a .jsonl or .csv file, or pass the rows")
        if not Path(inputs.path).is_file():
            raise SpecError(f"inputs: {inputs.path} is no file")
        spec["inputs"] = {"stdin": "jsonl" if kind == "ndjson" else kind}

    def chunks() -> Iterator[bytes]:
        yield json.dumps({"spec": spec, **chosen}, ensure_ascii=False).encode() + b"\n"
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
