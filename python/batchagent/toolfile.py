"""The tools.yaml of a local run: JSON, which is YAML, with the address of the tool server and the names of secrets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .definition import ToolDefinition

SECRET = "BATCHAGENT_PYTHON_TOOLS_SECRET"
_MAX_BYTES = 1 << 20


def settings(t: ToolDefinition) -> dict[str, Any]:
    """Return the operator's settings of a tool."""
    found: dict[str, Any] = {"share": t.share}
    for name, value in (("ttl", t.ttl), ("timeout", t.timeout)):
        if value is not None:
            found[name] = seconds(value)
    for name, number in (("max_tokens", t.max_tokens), ("concurrency", t.concurrency), ("on_unknown", t.on_unknown)):
        if number is not None:
            found[name] = number
    if t.rate_limit is not None:
        found["rate"] = rate(t.rate_limit)
    return found


def tools_file(tools: Iterable[ToolDefinition], port: int, python_eval: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the content of tools.yaml, and the variables that it names."""
    http: dict[str, Any] = {}
    sql: dict[str, Any] = {}
    env: dict[str, str] = {}
    for t in tools:
        if t.dsn is not None:
            variable = f"BATCHAGENT_PYTHON_DSN_{len(sql)}"
            env[variable] = _absolute(t.dsn)
            lookup = {"description": t.description, "batch": {"key": t.key_arg, "query": t.batch_query}}
            sql[f"{t.name}_source"] = {"dsn": f"${{{variable}}}", "query": False, "lookups": {t.name: lookup}}
            continue
        parameters = t.parameters
        http[t.name] = {
            "description": t.description, "url": f"http://127.0.0.1:{port}/call/{t.name}", "body": "json",
            "headers": {"Authorization": f"Bearer ${{{SECRET}}}"}, "max_bytes": _MAX_BYTES, **settings(t),
            **({"parameters": parameters} if parameters.get("properties") else {}),
        }
    content: dict[str, Any] = {}
    if http:
        content["http"] = http
    if sql:
        content["sql"] = sql
    if python_eval:
        content["python_eval"] = True
    return content, env


def seconds(value: float) -> str:
    """Return a duration in the form of a spec."""
    return f"{round(value * 1000)}ms"


def rate(per_second: float) -> str:
    for unit, factor in (("s", 1), ("m", 60), ("h", 3600)):
        number = per_second * factor
        if number >= 1 and (number == int(number) or unit == "h"):
            return f"{int(number)}/{unit}"
    raise ValueError(f"rate_limit is {per_second}; at least one execution per hour must be allowed")


def _absolute(dsn: str) -> str:
    scheme, _, path = dsn.partition(":")
    return f"sqlite:{Path(path).absolute()}" if scheme == "sqlite" and not path.startswith("//") else dsn
