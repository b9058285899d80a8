"""One result: the engine's line, read when it is needed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic_core import from_json

from .errors import AgentError, SpecError
from .exact import validated
from .raised import by_user, text_of
from .rows import Rows

T = TypeVar("T")

_UNREAD: Any = object()


class _Line(BaseModel):
    """The part of a line that is read first. A model makes Python values of its own fields only, which is fast."""

    index: int
    status: str


class Reader(Generic[T]):
    """Reads the lines of one batch. The engine has checked outputs against the schema; a type checks them once more."""

    def __init__(self, output_type: Any = None, rows: Rows | None = None) -> None:
        self.rows = rows
        self.chosen: list[int] | None = None
        """The row of each job by its index. None if they are the same."""
        self._typed = output_type is not None
        self._line: type[BaseModel] = _Line
        if self._typed:
            config = ConfigDict(arbitrary_types_allowed=True)
            self._line = create_model("Line", __config__=config, index=(int, ...), status=(str, ...), output=(output_type, ...))

    def read(self, line: bytes) -> AgentResult[T]:
        result: AgentResult[T] = AgentResult.__new__(AgentResult)
        result._reader = self
        result._line = line
        result._output = _UNREAD
        result.error = None
        refused: BaseException | None = None
        try:
            checked: Any = self._line.model_validate_json(line)
            if checked.status == "ok":
                result.index = self._row(checked.index)
                return result
        except BaseException as e:  # of the output, no output at all, or an exception of the user's validator
            if by_user(e):
                raise
            refused = e
        fields = from_json(line, cache_strings="keys")
        result.index = self._row(fields["index"])
        if fields["status"] != "ok":
            told = fields.get("error") or {"type": "Cancelled", "message": "the job was cancelled"}
            result.error = AgentError(told["type"], told["message"], told.get("retryable", False), told.get("raw"))
            result._output = None
        elif refused is not None:
            result.error = AgentError("OutputInvalid", f"the output matches the schema and not the type: {_why(refused)}", False, _raw(fields))
            result._output = None
        return result

    def _row(self, index: int) -> int:
        return index if self.chosen is None else self.chosen[index]

    def output(self, line: bytes) -> T:
        output: T
        if not self._typed:
            output = from_json(line)["output"]
            return output
        checked: Any = validated(self._line, line)
        output = checked.output
        return output


def _why(refused: BaseException) -> str:
    if not isinstance(refused, ValidationError):
        return text_of(refused)
    return "; ".join(f"{'.'.join(map(str, p['loc'][1:])) or 'output'}: {p['msg']}" for p in refused.errors(include_url=False))


def _raw(fields: dict[str, Any]) -> str:
    return json.dumps(fields["output"], ensure_ascii=False)


class AgentResult(Generic[T]):
    """The result of one row. ``output`` is None if ``error`` is set."""

    __slots__ = ("_line", "_output", "_reader", "error", "index")

    index: int
    """The position of the row in the inputs."""
    error: AgentError | None

    def __init__(self, job_id: str, index: int, output: T | None = None, error: AgentError | None = None, attempts: int = 1) -> None:
        from pydantic_core import to_json

        self.index = index
        self.error = error
        self._output = output
        self._reader: Reader[T] = Reader()
        status = "ok" if error is None else "failed"
        self._line: bytes = to_json({"job_id": job_id, "index": index, "status": status, "attempts": attempts})

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def id(self) -> str | None:
        """The row's own key. None without ``id`` in the batch."""
        key: str | None = self.fields.get("id")
        return key

    @property
    def output(self) -> T | None:
        """The answer: an instance of ``output_schema``, or plain JSON values. Without a schema it is ``{"text": …}``."""
        if self._output is _UNREAD:
            self._output = self._reader.output(self._line)
        output: T | None = self._output
        return output

    @property
    def input(self) -> Any:
        """The row of this result, or the item of a plan. For inputs from a file, the columns that ``carry`` names, or None."""
        fields = self.fields
        carried = fields.get("input", fields.get("item"))
        if carried is not None or self._reader.rows is None:
            return carried
        return self._reader.rows[self.index]

    @property
    def fields(self) -> dict[str, Any]:
        """All fields of the engine's line: usage, turns, tools, times_ms, model, transcript and others."""
        fields: dict[str, Any] = from_json(self._line, cache_strings="keys")
        return fields

    @property
    def job_id(self) -> str:
        return str(self.fields["job_id"])

    @property
    def attempts(self) -> int:
        return int(self.fields["attempts"])

    @property
    def status(self) -> str:
        """``ok``, ``failed`` or ``cancelled``."""
        return self._status(self.fields)

    def _status(self, fields: dict[str, Any]) -> str:
        return "failed" if self.error is not None and fields["status"] == "ok" else str(fields["status"])

    @property
    def usage(self) -> dict[str, int]:
        """Tokens of all turns: prompt_tokens, cached_tokens, completion_tokens."""
        return dict(self.fields.get("usage") or {})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AgentResult):
            return NotImplemented
        return (self.job_id, self.index, self.output, self.error) == (other.job_id, other.index, other.output, other.error)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        what = f"output={self.output!r}" if self.ok else f"error={self.error!r}"
        return f"AgentResult(index={self.index}, {what})"


def schema_of(output_schema: Any) -> dict[str, Any] | None:
    """Return the JSON Schema of a pydantic model, of another type, or of a dict that is one already. A path names a file with one."""
    if output_schema is None:
        return None
    if isinstance(output_schema, (str, os.PathLike)):
        return _schema_in(Path(output_schema))
    if isinstance(output_schema, dict):
        return output_schema
    return TypeAdapter(output_schema).json_schema()


def type_of(output_schema: Any) -> Any:
    """Return the type of outputs, or None if they stay plain JSON values."""
    return None if isinstance(output_schema, (dict, str, os.PathLike)) else output_schema


def _schema_in(path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(path.expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise SpecError(f"output_schema is {path}: {e}") from None
    if not isinstance(schema, dict):
        raise SpecError(f"output_schema is {path}: a schema must be a JSON object")
    return schema


OnResult = Callable[[AgentResult[Any]], Any]
