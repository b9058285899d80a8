"""The command ``batchagent``: the engine's commands, and two of Python: ``tools`` and ``agents``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    if sys.argv[1:2] == ["tools"]:
        from .toolscommand import main as tools

        sys.exit(tools(sys.argv[2:]))
    if sys.argv[1:2] == ["agents"]:
        from .agentscommand import main as agents

        sys.exit(agents(sys.argv[2:]))
    from .binary import engine_binary

    try:
        engine = engine_binary()
    except FileNotFoundError as e:
        print(f"batchagent: {e}", file=sys.stderr)
        sys.exit(2)
    sys.stdout.flush()
    os.execv(engine, ["batchagent", *sys.argv[1:]])


if __name__ == "__main__":
    main()
