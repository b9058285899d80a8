"""Builds the engine for each system, and packs each into a wheel in dist/. `make wheels` runs it.

    python3 python/wheels.py [linux-amd64 …]

It needs Go, and the packages `build` and `hatchling`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
LIMIT = 40 << 20
# The engine is static, so one wheel serves every Linux. Go sets the oldest macOS.
PLATFORMS = {
    "linux-amd64": "manylinux_2_17_x86_64.manylinux2014_x86_64.musllinux_1_1_x86_64",
    "linux-arm64": "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
    "darwin-amd64": "macosx_12_0_x86_64",
    "darwin-arm64": "macosx_12_0_arm64",
}


def main(systems: list[str]) -> int:
    for system in systems or list(PLATFORMS):
        if system not in PLATFORMS:
            print(f"wheels.py: unknown system {system}; one of {', '.join(PLATFORMS)}", file=sys.stderr)
            return 2
        wheel = pack(system)
        size = wheel.stat().st_size
        print(f"{wheel.relative_to(ROOT)}  {size / (1 << 20):.1f} MiB", flush=True)
        if size > LIMIT:
            print(f"wheels.py: {wheel.name} is larger than {LIMIT >> 20} MiB", file=sys.stderr)
            return 1
    return 0


def pack(system: str) -> Path:
    goos, _, goarch = system.partition("-")
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "batchagent"
        subprocess.run(
            [os.environ.get("GO", "go"), "build", "-tags", "sql,wheel", "-trimpath", "-ldflags", "-s -w", "-o", str(binary), "./cmd/coordinator"],
            cwd=ROOT, check=True, env={**os.environ, "CGO_ENABLED": "0", "GOOS": goos, "GOARCH": goarch},
        )
        binary.chmod(0o755)
        before = set(DIST.glob("*.whl"))
        env = {**os.environ, "BATCHAGENT_WHEEL_BINARY": str(binary), "BATCHAGENT_WHEEL_PLATFORM": PLATFORMS[system]}
        subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(DIST), str(ROOT / "python")], check=True, env=env, stdout=subprocess.DEVNULL)
        made = set(DIST.glob(f"batchagent-*{PLATFORMS[system]}.whl"))
        return (made - before or made).pop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
