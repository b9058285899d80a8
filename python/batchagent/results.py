"""The results of a batch: a list in the order of the inputs, with tables."""

from __future__ import annotations

import gc
import html
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import from_json

from .columns import pandas_column, polars_column
from .result import AgentResult
from .rows import CHUNK, Rows, fields_of

if TYPE_CHECKING:
    import pandas
    import polars

T = TypeVar("T")

_SHOWN = 20
_WIDTH = 200
_NONE: dict[str, Any] = {}


class Results(list[AgentResult[T]]):
    """A list of results in the order of the inputs."""

    def __init__(self, results: Iterable[AgentResult[T]] = (), *, batch: str = "", rows: Rows | None = None) -> None:
        super().__init__(results)
        self.batch = batch
        """The ID of the batch."""
        self._rows = rows

    @property
    def ok(self) -> Results[T]:
        """The results with an output."""
        return Results((r for r in self if r.ok), batch=self.batch, rows=self._rows)

    @property
    def failed(self) -> Results[T]:
        """The results with an error."""
        return Results((r for r in self if not r.ok), batch=self.batch, rows=self._rows)

    @property
    def inputs(self) -> list[Any]:
        """The rows of these results, to run them again: ``inputs=results.failed.inputs``."""
        if self and self._rows is None and self[0].input is None:
            raise ValueError("the inputs were a file, so the rows are not in memory; read the file and pass its rows")
        return [r.input for r in self]

    @property
    def outputs(self) -> list[T | None]:
        """The outputs in order, None for a row that failed."""
        return [r.output for r in self]

    @property
    def usage(self) -> dict[str, int]:
        """The tokens of all results."""
        total: dict[str, int] = {}
        for r in self:
            for name, tokens in r.usage.items():
                if not isinstance(tokens, bool):
                    total[name] = total.get(name, 0) + tokens
        return total

    def to_pandas(self, *, inputs: bool = True) -> pandas.DataFrame:
        """Return a DataFrame: the columns of the inputs, the fields of the outputs, status, error and tokens.

        Rows have the index of the DataFrame that was the input. A field of the output that has the name of
        another column gets the prefix ``output_``.
        """
        import pandas

        labels = None if self._rows is None else self._rows.labels
        index = pandas.Index([r.index for r in self]) if labels is None else labels[[r.index for r in self]]
        return pandas.DataFrame({name: pandas_column(values) for name, values in self._columns(inputs).items()}, index=index)

    def to_polars(self, *, inputs: bool = True) -> polars.DataFrame:
        """Return the same table as :meth:`to_pandas`, without an index."""
        import polars

        return polars.DataFrame([polars_column(name, values) for name, values in self._columns(inputs).items()])

    def _columns(self, inputs: bool) -> dict[str, list[Any]]:
        with _no_collector():
            return self._read(inputs)

    def _read(self, inputs: bool) -> dict[str, list[Any]]:
        given, out = _Table(), _Table()
        tail: dict[str, list[Any]] = {name: [] for name in ("status", "error_type", "error_message", "attempts", "prompt_tokens", "completion_tokens")}
        for first in range(0, len(self), CHUNK):
            part = self[first : first + CHUNK]
            # One call of the parser for many lines is faster than many calls.
            lines: list[dict[str, Any]] = from_json(b"[%b]" % b",".join([r._line for r in part]), cache_strings="keys")
            if inputs:
                given.extend([fields_of(line.get("input") or line.get("item")) for line in lines])
            errors = [r.error for r in part]
            out.extend([{} if e is not None else _named(line.get("output", r._output)) for r, e, line in zip(part, errors, lines)])
            usage = [u or _NONE for u in _values(lines, "usage")]
            tail["status"] += [line["status"] if e is None else r._status(line) for r, e, line in zip(part, errors, lines)]
            tail["error_type"] += [None if e is None else e.type for e in errors]
            tail["error_message"] += [None if e is None else e.message for e in errors]
            tail["attempts"] += _values(lines, "attempts")
            tail["prompt_tokens"] += _values(usage, "prompt_tokens")
            tail["completion_tokens"] += _values(usage, "completion_tokens")
        table = given.columns
        if inputs and self._rows is not None and not table:
            table = self._given(self._rows)
        names = frozenset(table)
        for name, column in out.columns.items():
            table[f"output_{name}" if name in names or name in tail else name] = column
        for name, column in tail.items():
            table[f"result_{name}" if name in names else name] = column
        return table

    def _given(self, rows: Rows) -> dict[str, list[Any]]:
        places: dict[int, int] = {r.index: i for i, r in enumerate(self)}
        table: dict[str, list[Any]] = {}
        index = 0
        for chunk in rows.chunks():
            for row in chunk:
                i = places.get(index)
                index += 1
                if i is None:
                    continue
                for name, value in fields_of(row).items():
                    if name not in table:
                        table[name] = [None] * len(self)
                    table[name][i] = value
        return table

    def __repr__(self) -> str:
        return f"Results({self._counts()})"

    def _counts(self) -> str:
        failed = sum(1 for r in self if not r.ok)
        return f"{len(self):,} rows, {len(self) - failed:,} ok, {failed:,} failed"

    def _repr_html_(self) -> str:
        """Show the first rows as a table in a notebook."""
        shown = Results(self[:_SHOWN], rows=None)
        columns = shown._columns(inputs=False)
        if self._rows is not None and shown:
            given: dict[str, list[Any]] = {}
            for i, r in enumerate(shown):
                for name, value in fields_of(r.input).items():
                    given.setdefault(name, [None] * len(shown))[i] = value
            columns = {**given, **{(f"output_{name}" if name in given else name): c for name, c in columns.items()}}
        columns = {name: c for name, c in columns.items() if any(v is not None for v in c)}
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        body = "".join(
            f"<tr><th>{r.index}</th>" + "".join(f"<td>{_cell(c[i])}</td>" for c in columns.values()) + "</tr>" for i, r in enumerate(shown)
        )
        more = f"<p>first {_SHOWN} of {len(self):,} rows</p>" if len(self) > _SHOWN else ""
        return f"<div><p>{self._counts()}</p><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>{more}</div>"


@contextmanager
def _no_collector() -> Iterator[None]:
    """Turn the collector of cycles off. Parsed lines have none, and it takes half of the time of a large table."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _named(output: Any) -> dict[str, Any]:
    return output if isinstance(output, dict) else {"output": output}


class _Table:
    """Columns that grow by rows. A row without a field has None."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {}
        self._rows = 0

    def extend(self, rows: list[dict[str, Any]]) -> None:
        if not self.columns.keys() >= set().union(*rows):
            for row in rows:
                for name in row:
                    self.columns.setdefault(name, [None] * self._rows)
        for name, column in self.columns.items():
            column += _values(rows, name)
        self._rows += len(rows)


def _values(rows: list[dict[str, Any]], name: str) -> list[Any]:
    """Return one field of all rows, None where it is missing."""
    try:
        return list(map(itemgetter(name), rows))  # fast
    except KeyError:
        return [row.get(name) for row in rows]


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return html.escape(text if len(text) <= _WIDTH else text[:_WIDTH] + "…")
