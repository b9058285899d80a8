"""``batchagent agents module:triage`` runs a Python agent for the jobs of a worker, which starts it."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
from typing import Any

from .agents import AgentDefinition, agent
from .agentserver import AgentServer, need_openai
from .definition import ToolDefinition
from .options import MCP_NAME

SOCKET = "BATCHAGENT_SOCKET"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="batchagent agents",
        description=f"Run a Python agent for a worker. The worker starts this command as a program of its tools.yaml, and sets {SOCKET}.",
    )
    parser.add_argument("app", help="MODULE, or MODULE:NAME of an agent or a function")
    args = parser.parse_args(argv)
    try:
        found = load(args.app)
        need_openai(found)
    except (ImportError, AttributeError, ValueError, TypeError) as e:
        print(f"batchagent agents: {e}", file=sys.stderr)
        return 2
    path = os.environ.get(SOCKET)
    if not path:
        print(f"batchagent agents: {SOCKET} is not set, because no worker started this command; its tools.yaml needs\n"
              f"{json.dumps(entry(found, args.app))}", file=sys.stderr)
        return 2
    sys.stdout = sys.stderr  # what agents print is no answer
    try:
        asyncio.run(_serve(found, path))
    except OSError as e:
        print(f"batchagent agents: {path}: {e}", file=sys.stderr)
        return 3
    return 0


def load(app: str) -> AgentDefinition:
    """Import the agent of ``module`` or ``module:name``."""
    sys.path.insert(0, os.getcwd())
    module, _, name = app.partition(":")
    imported: Any = importlib.import_module(module)
    if name:
        found = getattr(imported, name)
        return found if isinstance(found, AgentDefinition) else agent(found)
    agents = [v for v in vars(imported).values() if isinstance(v, AgentDefinition)]
    if len(agents) != 1:
        raise ValueError(f"{module} has {len(agents)} agents; name one as {module}:NAME")
    return agents[0]


def entry(a: AgentDefinition, app: str) -> dict[str, Any]:
    """Return what belongs into tools.yaml."""
    return {"programs": {a.name: {"argv": ["batchagent", "agents", app], "serve": True, "dir": os.getcwd()}}}


def wire_name(a: AgentDefinition, name: str) -> str:
    """Return the name under which workers offer a tool. Python functions belong to the MCP server of ``batchagent tools``."""
    if any(isinstance(t, ToolDefinition) and t.name == name for t in a.tools):
        name = f"{MCP_NAME}.{name}"
    return name.replace(".", "__", 1)


async def _serve(a: AgentDefinition, path: str) -> None:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for s in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(s, end.set)
    server = AgentServer(a, lambda name: wire_name(a, name))
    await server.start(path)
    await end.wait()
    await server.close()
