"""``batchagent tools module:app`` serves Python tools over MCP, for the workers of a cluster."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import ipaddress
import json
import os
import signal
import sys
from typing import Any

from .options import MCP_NAME
from .definition import ToolDefinition, as_tool
from .toolfile import settings
from .toolserver import ToolServer

TOKEN = "BATCHAGENT_TOOLS_TOKEN"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="batchagent tools",
        description=f"Serve Python tools over MCP. Workers name the server in tools.yaml; the entry is printed. Set {TOKEN} to a secret of your choice.",
    )
    parser.add_argument("app", help="MODULE, or MODULE:NAME of a tool, a function, or a list of them")
    parser.add_argument("--listen", default="127.0.0.1:8765", metavar="ADDRESS", help="host and port (default: %(default)s)")
    parser.add_argument("--url", metavar="URL", help="the address that workers use, for the printed entry")
    args = parser.parse_args(argv)
    try:
        tools = load(args.app)
        host, port = _address(args.listen)
        token = _token()
    except (ImportError, AttributeError, ValueError, TypeError) as e:
        print(f"batchagent tools: {e}", file=sys.stderr)
        return 2
    try:
        asyncio.run(_serve(tools, host, port, token, args.url or f"http://{args.listen}"))
    except OSError as e:
        print(f"batchagent tools: {args.listen}: {e}", file=sys.stderr)
        return 3
    return 0


def load(app: str) -> list[ToolDefinition]:
    """Import the tools of ``module`` or ``module:name``."""
    sys.path.insert(0, os.getcwd())
    module, _, name = app.partition(":")
    found: Any = importlib.import_module(module)
    if name:
        found = getattr(found, name)
        given = list(found) if isinstance(found, (list, tuple)) else [found]
    else:
        given = [v for v in vars(found).values() if isinstance(v, ToolDefinition)]
    tools = [t for t in map(as_tool, given) if isinstance(t, ToolDefinition)]
    if not tools:
        raise ValueError(f"{app} has no tools; decorate functions with @tool, or name a list of functions as {module}:NAME")
    return list({t.name: t for t in tools}.values())


def entry(tools: list[ToolDefinition], url: str) -> dict[str, Any]:
    """Return what belongs into tools.yaml."""
    own = {f"{MCP_NAME}.{t.name}": settings(t) for t in tools}
    return {"mcpServers": {MCP_NAME: {"url": f"{url.rstrip('/')}/mcp", "headers": {"Authorization": f"Bearer ${{{TOKEN}}}"}}}, "tools": own}


async def _serve(tools: list[ToolDefinition], host: str, port: int, token: str, url: str) -> None:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for s in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(s, end.set)
    with ToolServer(tools, loop, token, host, port):
        print("# tools.yaml of the workers (JSON is YAML):\n" + json.dumps(entry(tools, url), indent=2), flush=True)
        print(f"serving {', '.join(t.name for t in tools)}", file=sys.stderr, flush=True)
        await end.wait()


def _token() -> str:
    token = os.environ.get(TOKEN, "")
    if len(token) < 16:
        raise ValueError(f"set {TOKEN} to a secret of at least 16 characters, here and for the workers; `batchagent token` makes one")
    return token


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not port.isdigit():
        raise ValueError(f"--listen is {listen}; write host:port")
    host = host.strip("[]") or "0.0.0.0"
    if host != "localhost":
        ipaddress.ip_address(host)
    return host, int(port)
