"""Serves Python tools to the engine: plain HTTP for a local run, MCP for the workers of a cluster.

A request needs the secret. Each connection has a thread. Plain functions run in it; async functions run in the event loop
of the caller and are cancelled when the engine hangs up.
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import json
import select
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import Future, TimeoutError
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import ValidationError

from .definition import ToolDefinition, as_text
from .exact import part_of
from .raised import Raised, by_user, text_of, wrapped
from .version import __version__

_PROTOCOLS = ("2025-11-25", "2025-06-18", "2025-03-26")
_MAX_BODY = 16 << 20


class ToolServer:
    """An HTTP server with the tools. Use it as a context manager."""

    def __init__(self, tools: Iterable[ToolDefinition], loop: asyncio.AbstractEventLoop, secret: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.tools = {t.name: t for t in tools}
        self.secret = secret
        self._loop = loop
        self._http = _Server((host, port), _handler(self))
        self.port: int = self._http.server_address[1]

    def __enter__(self) -> ToolServer:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, name="batchagent-tools", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def call(self, name: str, arguments: bytes, connection: socket.socket) -> str:
        value = self.tools[name].call(arguments)
        if inspect.isawaitable(value):
            value = self._await(value, connection)
        return as_text(value)

    def _await(self, value: Any, connection: socket.socket) -> Any:
        async def finish() -> Any:
            try:
                return await value
            except (KeyboardInterrupt, SystemExit) as e:
                if by_user(e):
                    raise
                raise wrapped(e) from None

        future: Future[Any] = asyncio.run_coroutine_threadsafe(finish(), self._loop)
        while True:
            try:
                return future.result(timeout=0.5)
            except TimeoutError:
                if future.done():  # the function itself timed out
                    raise
                if _hung_up(connection):
                    future.cancel()
                    raise ConnectionAbortedError from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore connections that the engine closed."""


def _hung_up(connection: socket.socket) -> bool:
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""
    except (OSError, ValueError):
        return True


def _handler(server: ToolServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet for head and body
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

        def do_POST(self) -> None:
            try:
                size = int(self.headers.get("Content-Length") or 0)
            except ValueError:
                size = -1
            if not 0 <= size <= _MAX_BODY:
                self.close_connection = True
                return self.reply(413, "a call has at most 16 MiB")
            body = self.rfile.read(size)
            given = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), server.secret.encode()):
                return self.reply(401, "the secret is missing or wrong")
            if self.path == "/mcp":
                return self.mcp(body)
            name = self.path.removeprefix("/call/")
            if name not in server.tools:
                return self.reply(404, f"no tool {name}")
            ok, text = self.run_tool(name, body)
            self.reply(200 if ok else 422, text)

        def do_GET(self) -> None:
            self.reply(405, "only POST is served")

        do_DELETE = do_GET

        def run_tool(self, name: str, arguments: bytes) -> tuple[bool, str]:
            try:
                return True, server.call(name, arguments, self.connection)
            except ConnectionAbortedError:
                self.close_connection = True
                return False, "the caller is gone"
            except ValidationError as e:
                return False, "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in e.errors(include_url=False))
            except BaseException as e:
                return False, text_of(e.error if isinstance(e, Raised) else e)

        def mcp(self, body: bytes) -> None:
            try:
                message = json.loads(body)
                method, params = message["method"], message.get("params") or {}
            except (ValueError, KeyError, TypeError, AttributeError):
                return self.answer(None, error={"code": -32600, "message": "not a JSON-RPC request"})
            if "id" not in message:
                return self.reply(202, "")
            if method == "initialize":
                asked = params.get("protocolVersion")
                self.answer(message["id"], {
                    "protocolVersion": asked if asked in _PROTOCOLS else _PROTOCOLS[0],
                    "capabilities": {"tools": {}}, "serverInfo": {"name": "batchagent", "version": __version__},
                })
            elif method == "ping":
                self.answer(message["id"], {})
            elif method == "tools/list":
                self.answer(message["id"], {"tools": [_described(t) for t in server.tools.values()]})
            elif method == "tools/call" and params.get("name") in server.tools:
                ok, text = self.run_tool(params["name"], part_of(body, lambda m: m["params"].get("arguments") or {}))
                self.answer(message["id"], {"content": [{"type": "text", "text": text}], "isError": not ok})
            else:
                self.answer(message["id"], error={"code": -32601, "message": f"no method {method}"})

        def answer(self, id: Any, result: Any = None, *, error: Any = None) -> None:
            outcome = {"result": result} if error is None else {"error": error}
            self.reply(200, json.dumps({"jsonrpc": "2.0", "id": id, **outcome}), "application/json")

        def reply(self, status: int, text: str, media: str = "text/plain; charset=utf-8") -> None:
            body = text.encode("utf-8", "replace")
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

    return Handler


def _described(t: ToolDefinition) -> dict[str, Any]:
    changes = t.share == "effect"
    return {
        "name": t.name, "description": t.description, "inputSchema": t.parameters,
        "annotations": {"readOnlyHint": not changes, "destructiveHint": changes, "idempotentHint": not changes},
    }
