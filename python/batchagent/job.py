"""What an agent gets to know of its job, and the calls that it may make."""

from __future__ import annotations

import functools
import random
import ssl
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Union

import httpx

from .agents import VERSION
from .definition import Builtin, ToolDefinition, ToolError

Tool = Union[ToolDefinition, Builtin, Callable[..., Any]]

_KEY = "batchagent"
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Is never used, because jobs have http URLs. A client without it would read all certificates of the system."""
_HTTP: dict[str, Any] = {"verify": _TLS, "trust_env": False, "timeout": httpx.Timeout(None, connect=30)}
"""The engine has the time limits, and it retries."""
_ACCEPTED = {"Accept": "application/json, text/event-stream"}
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class Random(random.Random):
    """Random numbers that are the same in every attempt. ``job.random()`` is a number below 1, ``job.random.choice`` works, too."""

    def __call__(self) -> float:
        return self.random()


class JobInfo:
    """The facts about a job."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.name: str = description["job"]
        """The batch and the index, such as ``b_01k…/job-3``."""
        self.id: str | None = description.get("id")
        """The row's own key. None without ``id`` in the batch."""
        self.task: str = description.get("task", "")
        """The rendered task. It may be empty."""
        self.system: str = description.get("system", "")
        self.args: dict[str, Any] = {k: v for k, v in (description.get("args") or {}).items() if k != VERSION}
        """The values of ``agent.args`` in the spec."""
        self.schema: dict[str, Any] | None = description.get("schema")
        self.model: str = description["model"]
        self.url: str = description["url"]
        """The base URL of Anthropic clients. Those for OpenAI take it with ``/v1``. It ends with the attempt."""
        self.mcp_url: str = description["mcp_url"]
        self.random = Random(self.name)

    def now(self) -> datetime:
        """Return the time at which the batch was submitted. It is the same in every attempt."""
        milliseconds = 0
        for letter in self.name[2:12]:
            milliseconds = milliseconds << 5 | _ALPHABET.index(letter)
        return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


class Job(JobInfo):
    """The job of an async agent."""

    def __init__(self, description: dict[str, Any], wire: Callable[[str], str] = str) -> None:
        super().__init__(description)
        self._wire = wire
        self._http = httpx.AsyncClient(**_HTTP)

    @functools.cached_property
    def llm(self) -> Any:
        import openai

        client = openai.DefaultAsyncHttpxClient(verify=_TLS, trust_env=False)
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=_KEY, max_retries=0, timeout=None, http_client=client)

    async def call_tool(self, tool: str | Tool, /, **args: Any) -> str:
        """Call a tool of the batch. A failure of the tool raises a :class:`ToolError`."""
        return _text(await self._http.post(self.mcp_url, headers=_ACCEPTED, json=_call(self._wire(_named(tool)), args)))

    async def tools(self) -> list[dict[str, Any]]:
        """Return the tools of the batch in the form of ``chat.completions.create(tools=…)``."""
        return _listed(await self._http.post(self.mcp_url, headers=_ACCEPTED, json=_request("tools/list", {})))

    async def close(self) -> None:
        await self._http.aclose()
        if "llm" in self.__dict__:
            await self.llm.close()


class SyncJob(JobInfo):
    """The job of an agent that is not async. It has the methods of :class:`Job` without ``await``."""

    def __init__(self, description: dict[str, Any], wire: Callable[[str], str] = str) -> None:
        super().__init__(description)
        self._wire = wire
        self._http = httpx.Client(**_HTTP)

    @functools.cached_property
    def llm(self) -> Any:
        import openai

        client = openai.DefaultHttpxClient(verify=_TLS, trust_env=False)
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=_KEY, max_retries=0, timeout=None, http_client=client)

    def call_tool(self, tool: str | Tool, /, **args: Any) -> str:
        """Call a tool of the batch. A failure of the tool raises a :class:`ToolError`."""
        return _text(self._http.post(self.mcp_url, headers=_ACCEPTED, json=_call(self._wire(_named(tool)), args)))

    def tools(self) -> list[dict[str, Any]]:
        """Return the tools of the batch in the form of ``chat.completions.create(tools=…)``."""
        return _listed(self._http.post(self.mcp_url, headers=_ACCEPTED, json=_request("tools/list", {})))

    def close(self) -> None:
        self._http.close()
        if "llm" in self.__dict__:
            self.llm.close()


def _named(tool: Any) -> str:
    return tool if isinstance(tool, str) else str(getattr(tool, "name", None) or tool.__name__)


def _request(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def _call(name: str, args: dict[str, Any]) -> dict[str, Any]:
    return _request("tools/call", {"name": name, "arguments": args})


def _result(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        raise RuntimeError(f"the engine refused the call: {response.text[:500]}")
    message = response.json()
    if "error" in message:
        raise ToolError(message["error"].get("message", "the call failed"))
    result: dict[str, Any] = message["result"]
    return result


def _text(response: httpx.Response) -> str:
    result = _result(response)
    text = "\n".join(part.get("text", "") for part in result["content"])
    if result.get("isError"):
        raise ToolError(text)
    return text


def _listed(response: httpx.Response) -> list[dict[str, Any]]:
    return [
        {"type": "function", "function": {"name": t["name"], "description": t.get("description", ""), "parameters": t["inputSchema"]}}
        for t in _result(response)["tools"]
    ]
