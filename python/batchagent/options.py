"""The arguments of a batch, and how they become a spec."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import Required, TypedDict

from .agents import ANY, AgentDefinition, as_agent
from .result import OnResult, schema_of
from .definition import Builtin, ToolDefinition, as_tool
from .toolfile import seconds

MCP_NAME = "python"
"""The name that workers give to the server of ``batchagent tools``."""


class Options(TypedDict, total=False):
    """All arguments of a batch but ``output_schema``. Those without a comment are fields of the spec."""

    agent: Any
    """A function that :func:`agent` decorates, or a dict as in a spec. It runs in place of the engine's own agent."""
    task: str
    """The prompt. It is needed without ``agent``."""
    inputs: Required[Any]
    """A list of dicts, models or values; a DataFrame of pandas or polars; or the path of a file or a glob."""
    name: str
    """Results are kept under this name. The same call again runs the rest only."""
    system_prompt: str
    tools: Sequence[Any]
    """Functions, tools such as ``Tool.read_file``, or names."""
    model: str | None
    backend: str | None
    """The URL of the model server. By default BATCHAGENT_BACKEND, then a server on this machine, then a simulated one."""
    server: str | None
    """The URL of a running ``batchagent serve``. Its workers run the batch."""
    on_result: OnResult | None
    """Is called with each result when its row is done. It may be async."""
    progress: bool | None
    """Show a progress bar. By default on a terminal and in notebooks."""
    max_inflight: int
    max_turns: int
    max_retries: int
    max_attempts: int
    timeouts: Mapping[str, Any]
    """Seconds, or durations such as "5m": ``turn``, ``tool`` and ``job``."""
    sampling: Mapping[str, Any]
    budget: Mapping[str, Any]
    prices: Mapping[str, Any]
    priority: int
    owner: str
    ttl: str
    keep_reasoning: str
    transcripts: bool
    literal: bool
    hoist: bool
    order: str
    preload: Sequence[Mapping[str, Any]]
    """Tool calls before the first turn of each row, such as ``{"tool": "read_file", "args": {"path": "{path}"}}``."""
    identical: str
    """``once`` runs one of several rows with the same prompt."""
    on_bad_input: str
    id: str
    """A template of each row's own key, such as "{ticket_id}". It is unique and becomes ``AgentResult.id``."""
    carry: Sequence[str] | str
    """Columns that results repeat as ``AgentResult.input``: a list, or "all"."""
    keep_preamble: bool
    workspace: Mapping[str, Any]
    """The working folder of a program: ``from``, ``at``, ``run``, ``collect``, ``diff``."""
    tools_root: str | os.PathLike[str]
    """The folder of read_file, list_files and grep_files. By default the current one."""
    tools_file: str | os.PathLike[str] | None
    """A tools.yaml. It cannot be combined with Python functions."""
    checkpoint_dir: str | os.PathLike[str] | None
    """The folder of results that are kept by name. By default ``.batchagent`` in the current one."""
    reuse: str | os.PathLike[str] | None
    """A results file. Rows that ask the same question take their results from it."""
    limit: int
    """Run the first rows only."""
    sample: int
    """Run that many random rows only. The same ``seed`` chooses the same rows."""
    seed: int
    rerun: str | Mapping[str, str]
    """A condition, such as "failed". Rows whose kept results meet it run again with the present prompt. It needs a ``name``.

    With ``server``, it names the earlier batch, too: ``{"batch": results.batch, "where": "failed"}``."""
    force: bool
    """Continue a run although most of its results no longer match the inputs. Those results are dropped."""
    # Names of the package batch-agent.
    max_concurrent: int
    max_agents: int
    timeout_per_agent: float | None
    timeout_per_turn: float | None
    timeout_per_tool: float | None
    no_hoist: bool
    strip_preamble: bool


_SPEC = (
    "system_prompt", "task", "model", "max_inflight", "max_turns", "max_retries", "max_attempts", "sampling", "budget", "prices",
    "priority", "owner", "ttl", "keep_reasoning", "transcripts", "literal", "hoist", "order", "preload", "identical",
    "on_bad_input", "keep_preamble", "id", "carry", "workspace",
)

# Settings of the package batch-agent that the engine needs nobody to set.
_DECIDED = frozenset((
    "max_dispatched", "calibrate_backend", "backpressure_ceiling", "min_response_tokens", "model_max_context", "diff_kv", "kvflow",
    "streaming_tool_dispatch", "nvext_agent_hints", "predictive_prewarm", "compaction_backend_url", "distributed", "node_id",
))


def translated(options: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the names of the package batch-agent by the spec's, and refuse unknown names."""
    o = dict(options)
    ignored = sorted(_DECIDED & o.keys())
    if ignored:
        warnings.warn(f"ignored, because the engine decides it: {', '.join(ignored)}", stacklevel=4)
    for name in ignored:
        del o[name]
    for old in ("max_agents", "max_concurrent"):
        if old in o:
            o.setdefault("max_inflight", o.pop(old))
            o.pop(old, None)
    if o.get("max_inflight") == -1:
        del o["max_inflight"]
    timeouts = dict(o.get("timeouts") or {})
    for old, new in (("timeout_per_agent", "job"), ("timeout_per_turn", "turn"), ("timeout_per_tool", "tool")):
        value = o.pop(old, None)
        if value is not None:
            timeouts.setdefault(new, value)
    if timeouts:
        o["timeouts"] = timeouts
    if "no_hoist" in o:
        o.setdefault("hoist", not o.pop("no_hoist"))
    if "strip_preamble" in o:
        o.setdefault("keep_preamble", not o.pop("strip_preamble"))
    if "runtime" in o:
        raise TypeError("runtime= is not supported: the engine runs the agents; give backend= and model=")
    if o.get("name") == "":
        raise ValueError("name is empty; give a name, or None")
    _check_server(o.get("server"))
    _check_rerun(o)
    known = Options.__annotations__.keys() | {"plan", "reduce", "output_schema"}
    unknown = sorted(o.keys() - known)
    if unknown:
        raise TypeError(f"unexpected argument {unknown[0]!r}{_nearest(unknown[0], known)}")
    if o.get("agent") is not None:
        o["agent"] = as_agent(o["agent"])
    optional = {"inputs": "plan", "task": "agent"}
    for needed, instead in optional.items():
        if needed not in o and o.get(instead) is None:
            raise TypeError(f"missing argument {needed!r}")
    return o


def _check_server(server: str | None) -> None:
    if server is None:
        return
    try:
        url = urlsplit(server)
        right = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # the port is no number
        right = False
    if not right:
        raise ValueError(f"server is {server!r}; give its URL, such as http://127.0.0.1:8080, or None for a local run")


def _check_rerun(o: Mapping[str, Any]) -> None:
    rerun = o.get("rerun")
    if rerun is None:
        return
    if not rerun:
        raise ValueError("rerun is empty; give a condition such as 'failed', or None")
    if o.get("server"):
        if isinstance(rerun, str) or sorted(rerun) != ["batch", "where"]:
            raise ValueError('with server=, rerun= names the earlier batch, too: rerun={"batch": results.batch, "where": "failed"}')
    elif not isinstance(rerun, str):
        raise ValueError("in a local run, rerun= is a condition such as 'failed'; name= says which run it continues")
    elif not o.get("name"):
        raise ValueError("rerun= needs name=, the name of the run whose results are kept")


def _nearest(name: str, known: Any) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def spec_of(o: Mapping[str, Any], output_schema: Any, tools: Sequence[Any], *, local: bool) -> dict[str, Any]:
    """Return the spec without its inputs. Python functions have another name on a cluster: that of their MCP server."""
    spec: dict[str, Any] = {"name": o.get("name") or "python"}
    for name in _SPEC:
        if o.get(name) is not None:
            spec[name] = dict(o[name]) if isinstance(o[name], Mapping) else o[name]
    if spec.get("system_prompt") == "":
        del spec["system_prompt"]
    if o.get("timeouts"):
        spec["timeouts"] = {k: seconds(v) if isinstance(v, (int, float)) else v for k, v in o["timeouts"].items()}
    if tools:
        spec["tools"] = [tool_name(t, local=local) for t in tools]
    schema = schema_of(output_schema)
    if schema is not None:
        spec["output_schema"] = schema
    for stage in ("plan", "reduce"):
        if o.get(stage):
            spec[stage] = dict(o[stage])
    a = o.get("agent")
    if isinstance(a, AgentDefinition):
        spec["agent"] = {"program": a.name}  # a local run puts its socket here
    elif a:
        spec["agent"] = a
    return spec


def answer_type(o: Mapping[str, Any], output_schema: Any) -> Any:
    """Return the output schema. That of an agent defaults to the type that its function returns."""
    a = o.get("agent")
    if output_schema is not None or not isinstance(a, AgentDefinition):
        return output_schema
    return ANY if a.output_type is None else a.output_type


def tool_name(t: Any, *, local: bool) -> Any:
    if isinstance(t, ToolDefinition):
        return t.name if local else f"{MCP_NAME}.{t.name}"
    return t.name if isinstance(t, Builtin) else t


def tools_of(o: Mapping[str, Any]) -> list[ToolDefinition | Builtin | dict[str, Any]]:
    own = o["agent"].tools if isinstance(o.get("agent"), AgentDefinition) else ()
    given = [as_tool(t) for t in o.get("tools") or ()]
    return [*own, *(t for t in given if t not in own)]


def results_path(o: Mapping[str, Any]) -> Path | None:
    """Return the file that keeps the results of a named run."""
    folder, name = o.get("checkpoint_dir"), o.get("name")
    if folder is None and name is None:
        return None
    name = name or "run"
    if name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise ValueError(f"name is {name!r}; it names a file, so it must have no slash")
    return Path(folder if folder is not None else ".batchagent").expanduser().absolute() / f"{name}.jsonl"
