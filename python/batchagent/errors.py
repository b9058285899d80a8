"""What can go wrong: :class:`AgentError` as data for one row, exceptions for a whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .results import Results


@dataclass(frozen=True)
class AgentError:
    """Why one row has no output. ``type`` is one of the stable names in the documentation of results."""

    type: str
    message: str
    retryable: bool = False
    raw: str | None = None
    """The model's last text, if the error is about it."""


class BatchError(RuntimeError):
    """The base of the exceptions below."""


class SpecError(BatchError, ValueError):
    """The arguments or the inputs have mistakes. Nothing was run."""


class EngineError(BatchError):
    """The engine ended before the batch was done. With a name, the same call runs the rest."""


class ServerError(BatchError):
    """The server of ``server=`` refused a request or cannot be reached."""

    def __init__(self, message: str, *, status: int = 0, kind: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class ReduceError(BatchError):
    """The planner or the reducer failed. ``results`` has the results of the rows."""

    def __init__(self, message: str, *, error: AgentError | None, results: Results[Any]) -> None:
        super().__init__(message)
        self.error = error
        self.results = results


class SimulatedWarning(UserWarning):
    """The results come from the simulated model server."""
