"""Tools: Python functions that agents may call, and names of the engine's own tools."""

from __future__ import annotations

import inspect
import re
import typing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, overload

from pydantic import BaseModel, ConfigDict, create_model
from pydantic_core import to_json

from .exact import validated

Share = Literal["pure", "ttl", "inflight", "effect"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ToolError(RuntimeError):
    """A tool raises it to report a failure to the model. Its text is what the model reads."""


@dataclass(frozen=True)
class ToolDefinition:
    """A Python function as a tool. Calling the definition calls the function."""

    name: str
    func: Callable[..., Any]
    description: str = ""
    share: Share = "inflight"
    ttl: float | None = None
    """Seconds for which equal calls share a result, with ``share="ttl"``."""
    timeout: float | None = None
    max_tokens: int | None = None
    rate_limit: float | None = None
    """Executions per second."""
    concurrency: int | None = None
    on_unknown: Literal["fail", "retry", "ask"] | None = None
    key_arg: str | None = None
    batch_query: str | None = None
    dsn: str | None = field(default=None, repr=False)
    arguments: type[BaseModel] | None = field(default=None, repr=False)

    @property
    def cacheable(self) -> bool:
        return self.share in ("pure", "ttl")

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        schema: dict[str, Any] = _without_titles((self.arguments or _arguments(self.func, self.name)).model_json_schema())
        return schema

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)

    def call(self, arguments: bytes) -> Any:
        """Call the function with JSON arguments. The result of an async function must be awaited."""
        model = self.arguments or _arguments(self.func, self.name)
        checked = validated(model, arguments or b"{}")
        return self.func(**{name: getattr(checked, name) for name in checked.model_fields_set})


@dataclass(frozen=True)
class Builtin:
    """A tool of the engine, by its name."""

    name: str


@overload
def tool(func: Callable[..., Any], /) -> ToolDefinition: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    share: Share = "inflight",
    ttl: float | None = None,
    timeout: float | None = None,
    max_tokens: int | None = None,
    rate_limit: float | None = None,
    concurrency: int | None = None,
    on_unknown: Literal["fail", "retry", "ask"] | None = None,
) -> Callable[[Callable[..., Any]], ToolDefinition]: ...
def tool(func: Callable[..., Any] | None = None, /, *, name: str | None = None, description: str | None = None, **settings: Any) -> Any:
    """Make a tool of a function. Its schema comes from the signature, its description from the docstring.

    ``share`` decides which equal calls get the result of one execution: "inflight" (those that overlap), "ttl" (within
    ``ttl`` seconds), "pure" (all), or "effect" (none: the function changes something, and is never repeated by itself).
    """

    def define(inner: Callable[..., Any]) -> ToolDefinition:
        called = valid_name(str(name or getattr(inner, "__name__", "")), "a tool")
        text = description if description is not None else inspect.getdoc(inner) or called.replace("_", " ")
        batched = getattr(inner, "_batchagent_batch", {})
        return ToolDefinition(called, inner, text, arguments=_arguments(inner, called), **batched, **settings)

    return define if func is None else define(func)


class Tool:
    """The engine's own tools (``Tool.read_file``), and decorators for Python functions."""

    registry: ClassVar[dict[str, ToolDefinition]] = {}

    read_file: ClassVar[Builtin] = Builtin("read_file")
    list_files: ClassVar[Builtin] = Builtin("list_files")
    grep_files: ClassVar[Builtin] = Builtin("grep_files")
    http_get: ClassVar[Builtin] = Builtin("http_get")
    web_search: ClassVar[Builtin] = Builtin("web_search")
    python_eval: ClassVar[Builtin] = Builtin("python_eval")

    @overload
    @classmethod
    def define(cls, func: Callable[..., Any]) -> ToolDefinition: ...
    @overload
    @classmethod
    def define(
        cls, *, name: str | None = None, max_tokens: int | None = 2000, cacheable: bool = True, rate_limit: float | None = None
    ) -> Callable[[Callable[..., Any]], ToolDefinition]: ...
    @classmethod
    def define(
        cls,
        func: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        max_tokens: int | None = 2000,
        cacheable: bool = True,
        rate_limit: float | None = None,
    ) -> Any:
        """Make a tool whose equal calls share one result, unless ``cacheable`` is false. :func:`tool` has more settings."""

        def make(inner: Callable[..., Any]) -> ToolDefinition:
            definition = tool(
                name=name, max_tokens=max_tokens, share="pure" if cacheable else "inflight", rate_limit=rate_limit
            )(inner)
            cls.registry[definition.name] = definition
            setattr(cls, definition.name, definition)
            return definition

        return make if func is None else make(func)

    @staticmethod
    def batchable(*, key_arg: str, batch_query: str, dsn: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Mark a function that finds one row by a key.

        With ``dsn`` ("postgres://…" or "sqlite:PATH") the engine collects the calls of many agents and runs
        ``batch_query``, which has ``{ids}`` in an IN list, once for all of them. Without it the function runs for each key.
        """

        def mark(func: Callable[..., Any]) -> Callable[..., Any]:
            func._batchagent_batch = {"key_arg": key_arg, "batch_query": batch_query, "dsn": dsn}  # type: ignore[attr-defined]
            return func

        return mark


def valid_name(name: str, of: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of {of}; use letters, digits, _ and -, with name=…")
    return name


def as_tool(given: Any) -> ToolDefinition | Builtin | dict[str, Any]:
    """Read an entry of ``tools=``: a tool, a function, a name, or a dict as in a spec."""
    if isinstance(given, (ToolDefinition, Builtin)):
        return given
    if isinstance(given, str):
        return Builtin(given)
    if isinstance(given, Mapping):
        return dict(given)
    if callable(given):
        return tool(given)
    raise TypeError(f"{given!r} is no tool; pass a function, a name, or Tool.read_file and the like")


def as_text(value: Any) -> str:
    """Return a tool's result as the text that the model reads."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    return to_json(value, fallback=str, inf_nan_mode="constants").decode()


def _arguments(func: Callable[..., Any], name: str) -> type[BaseModel]:
    signature = inspect.signature(func)
    try:
        hints = typing.get_type_hints(func, include_extras=True)
    except NameError:  # a name that only a type checker knows
        hints = {}
    fields: dict[str, Any] = {}
    for p in signature.parameters.values():
        if p.kind is p.VAR_POSITIONAL or p.kind is p.VAR_KEYWORD or p.kind is p.POSITIONAL_ONLY:
            raise TypeError(f"tool {name}: the parameter {p} cannot be filled in by a model; give it a name and a type")
        fields[p.name] = (hints.get(p.name, Any), ... if p.default is p.empty else p.default)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a parameter may be called json or schema
        return create_model(name, __config__=config, **fields)


def _without_titles(schema: Any) -> Any:
    """Remove the titles that pydantic makes from names. They cost tokens and add nothing."""
    if isinstance(schema, list):
        return [_without_titles(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_titles(s) for name, s in value.items()} if key in ("properties", "$defs") else _without_titles(value)
        for key, value in schema.items()
        if key != "title" or not isinstance(value, str)
    }
