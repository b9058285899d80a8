#!/usr/bin/env bash
# Runs the macro benchmarks; `bench/run.sh smoke` runs each once with small sizes. README.md explains the output.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = smoke ]; then
  go run ./bench/fair -smoke
  go run ./bench/scale -smoke
  go run ./bench/tools -smoke
  go run ./bench/kv -smoke
  go run ./bench/cluster -smoke
  go run ./bench/prefix -smoke
  go run ./bench/live -smoke
  (cd bench/queue && go run . -smoke)
  (cd bench/chaos && go test ./... && go run . -smoke && go run . -smoke -rolling && go run . -smoke -programs serve)
  (cd bench/kvplot && go test ./...)
else
  go run ./bench/fair
  go run ./bench/scale
  go run ./bench/tools
  go run ./bench/kv
  go run ./bench/cluster
  go run ./bench/prefix
  go run ./bench/live
  (cd bench/queue && go run .)
  (cd bench/chaos && go run . && go run . -rolling -jobs 6000 -duration 90s)
fi
