"""Finds the engine: the program that the wheel contains."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

VARIABLE = "BATCHAGENT_BINARY"


def engine_binary() -> str:
    """Return the path of the engine: that of BATCHAGENT_BINARY, of the wheel, or of a program on PATH."""
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise FileNotFoundError(f"{VARIABLE} is {named}, which is no program")
        return found
    bundled = Path(__file__).parent / "bin" / "batchagent"
    if bundled.is_file():
        return str(bundled)
    raise FileNotFoundError(f"this installation of batchagent has no engine; install a wheel for this system, or set {VARIABLE} to the engine's path")
