"""Run one LLM-agent task over many inputs: rows in, one checked result per row out.

    from batchagent import BatchAgent

    results = await BatchAgent.run(task="Sum up {text}", inputs=rows, backend="vllm://localhost:8000")

The package starts the engine that it contains, or talks to a server that already runs (``server="http://…"``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agents import AgentDefinition, agent
    from .batch import BatchAgent
    from .errors import AgentError, BatchError, EngineError, ReduceError, ServerError, SimulatedWarning, SpecError
    from .job import Job, SyncJob
    from .result import AgentResult
    from .results import Results
    from .definition import Tool, ToolDefinition, ToolError, tool
    from .version import __version__

__all__ = [
    "AgentDefinition",
    "AgentError",
    "AgentResult",
    "BatchAgent",
    "BatchError",
    "EngineError",
    "Job",
    "ReduceError",
    "Results",
    "ServerError",
    "SimulatedWarning",
    "SpecError",
    "SyncJob",
    "Tool",
    "ToolDefinition",
    "ToolError",
    "__version__",
    "agent",
    "tool",
]

_MODULES = {
    "AgentDefinition": "agents",
    "AgentResult": "result",
    "BatchAgent": "batch",
    "Job": "job",
    "Results": "results",
    "SyncJob": "job",
    "Tool": "definition",
    "ToolDefinition": "definition",
    "ToolError": "definition",
    "__version__": "version",
    "agent": "agents",
    "tool": "definition",
}


def __getattr__(name: str) -> Any:
    """Import a name on its first use, so that the command ``batchagent`` starts fast."""
    if name not in __all__:
        raise AttributeError(f"module 'batchagent' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module("." + _MODULES.get(name, "errors"), __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
