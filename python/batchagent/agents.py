"""Agents: Python functions that run a job with a model and tools, in place of the engine's own agent."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from pydantic_core import to_json

from .answer import read_row, written
from .definition import Builtin, ToolDefinition, as_tool, valid_name

ANY: dict[str, Any] = {"type": ["object", "array", "string", "number", "boolean"]}
"""The schema of an agent without ``output_schema``: its output is the value that it returns."""

_MAX_MESSAGE = 2000
_MAX_ANSWER = 4 << 20
_FILLED = ("llm", "job")
VERSION = "function"
"""The name among the args of a spec's agent that has the function's version, so that --resume refuses another function."""


@dataclass(frozen=True)
class AgentDefinition:
    """A Python function as an agent. Calling the definition calls the function."""

    name: str
    func: Callable[..., Any]
    tools: tuple[ToolDefinition | Builtin | dict[str, Any], ...] = ()
    wants: frozenset[str] = frozenset()
    """Which of ``llm`` and ``job`` the function takes."""
    row_type: Any = field(default=None, repr=False)
    """The type of the row, or None for a dict."""
    output_type: Any = field(default=None, repr=False)
    """The type that the function returns, or None if it has no annotation."""

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.func)

    @property
    def version(self) -> str:
        """A hash of the function without its comments. Functions that it calls are no part of it."""
        try:
            source = ast.dump(ast.parse(textwrap.dedent(inspect.getsource(self.func))))
        except (OSError, TypeError, SyntaxError):  # it has no source, or is a part of a line
            source = ""
        return hashlib.sha256(f"{self.name} {source}".encode()).hexdigest()[:16]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)

    def row(self, fields: Any) -> Any:
        """Return the first argument of the function."""
        return fields if self.row_type is None else read_row(self.row_type, fields)


@overload
def agent(func: Callable[..., Any], /) -> AgentDefinition: ...
@overload
def agent(*, tools: Sequence[Any] = (), name: str | None = None) -> Callable[[Callable[..., Any]], AgentDefinition]: ...
def agent(func: Callable[..., Any] | None = None, /, *, tools: Sequence[Any] = (), name: str | None = None) -> Any:
    """Make an agent of a function. It takes the row, and by name ``llm`` and ``job`` if it needs them.

    ``llm`` is an ``openai.AsyncOpenAI`` bound to the job, or an ``openai.OpenAI`` if the function is not async. ``job`` is a
    :class:`Job`. The function returns a text, a dict, a model or any other JSON value.
    """

    def define(inner: Callable[..., Any]) -> AgentDefinition:
        called = valid_name(str(name or getattr(inner, "__name__", "")), "an agent")
        parameters = list(inspect.signature(inner).parameters.values())
        if not parameters or parameters[0].kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            raise TypeError(f"agent {called}: the first parameter must be the row: def {called}(row, llm, job)")
        row, *others = parameters
        for p in others:
            if p.name not in _FILLED and p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                raise TypeError(f"agent {called}: the parameter {p.name} has no value; an agent takes the row, llm and job")
        try:
            hints = typing.get_type_hints(inner, include_extras=True)
        except NameError:  # a name that only a type checker knows
            hints = {}
        wants = frozenset(p.name for p in others if p.name in _FILLED)
        return AgentDefinition(called, inner, tuple(map(as_tool, tools)), wants, _row_type(hints.get(row.name)), _output_type(hints.get("return")))

    return define if func is None else define(func)


def as_agent(given: Any) -> AgentDefinition | dict[str, Any]:
    """Read ``agent=``: an agent, a function, or a dict as in a spec."""
    if isinstance(given, AgentDefinition):
        return given
    if isinstance(given, Mapping) and given:
        return dict(given)
    if callable(given):
        return agent(given)
    raise TypeError(f"{given!r} is no agent; pass a function, or a dict such as {{'command': ['python', 'agent.py']}}")


def _row_type(hint: Any) -> Any:
    origin = typing.get_origin(hint) or hint
    plain = origin is None or origin is Any or (isinstance(origin, type) and issubclass(dict, origin))
    return None if plain else hint


def _output_type(hint: Any) -> Any:
    return None if hint is None or hint is Any or hint is str or hint is type(None) else hint


def encoded(value: Any, schema: Any) -> bytes:
    """Return what an agent returned, as the JSON of its answer. The engine searches a text for a value that matches a schema."""
    if value is None:
        raise ValueError("the agent returned None; it must return its answer")
    output = written(value)
    if schema == ANY:
        output = to_json(output.decode())
    if len(output) > _MAX_ANSWER:
        raise ValueError(f"the answer has {len(output)} bytes; at most {_MAX_ANSWER >> 20} MiB are allowed")
    return output


def complaint(e: BaseException) -> str:
    """Return the type, the message and the place of an exception."""
    text = "".join(traceback.format_exception_only(type(e), e)).strip() or type(e).__name__
    frames = traceback.extract_tb(e.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name})" if frames else ""
    text = text.encode("utf-8", "replace").decode()
    return text[: _MAX_MESSAGE - min(len(where), 500)] + where[-500:]
