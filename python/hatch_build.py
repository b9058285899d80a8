"""Puts the engine into the wheel. BATCHAGENT_WHEEL_BINARY names it and BATCHAGENT_WHEEL_PLATFORM the system that it is for.

Without them, as in `pip install ./python`, the engine is built for this machine, which takes Go.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent.parent


class EngineHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return  # BATCHAGENT_BINARY names the engine
        binary = os.environ.get("BATCHAGENT_WHEEL_BINARY") or self._built()
        platform = os.environ.get("BATCHAGENT_WHEEL_PLATFORM") or sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["force_include"][binary] = "batchagent/bin/batchagent"

    def _built(self) -> str:
        if shutil.which("go") is None:
            raise RuntimeError("the engine is written in Go: install Go, or a wheel of batchagent that contains it")
        target = Path(self.directory) / "engine" / "batchagent"
        subprocess.run(
            ["go", "build", "-tags", "sql,wheel", "-ldflags", "-s -w", "-o", str(target), "./cmd/coordinator"],
            cwd=ROOT, check=True, env={**os.environ, "CGO_ENABLED": "0"},
        )
        return str(target)
