#!/usr/bin/env bash
# Run the macro benchmarks; `bench/run.sh smoke` runs each once and small. README.md says how to read them.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = smoke ]; then
  go run ./bench/fair -smoke
  go run ./bench/scale -smoke
  (cd bench/queue && go run . -smoke)
else
  go run ./bench/fair
  go run ./bench/scale
  (cd bench/queue && go run .)
fi
