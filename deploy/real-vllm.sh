#!/usr/bin/env bash
# Run the tickets example on a real vLLM server, with redis-server and two workers on this machine.
#   deploy/real-vllm.sh vllm://127.0.0.1:8000
# Needs redis-server on the PATH and a vLLM that was started with --enable-auto-tool-choice, a tool parser and
# --enable-prompt-tokens-details. Writes results.jsonl and prints the summary and three result lines.
set -euo pipefail
cd "$(dirname "$0")/.."
backend=${1:?name the server: make real-vllm URL=vllm://127.0.0.1:8000}
dir=$(mktemp -d); pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
go build -o "$dir" ./cmd/...

sock=unix://$dir/redis.sock
redis-server --port 0 --unixsocket "$dir/redis.sock" --save '' --appendonly yes --dir "$dir" > "$dir/redis.log" & pids+=($!)
until [ -S "$dir/redis.sock" ]; do sleep 0.1; done
for k in 1 2; do
  "$dir/worker" --redis "$sock" --backend "$backend" --id "node-$k" --max-inflight "${MAX_INFLIGHT:-2}" --max-agents "${MAX_AGENTS:-2}" 2> "$dir/worker-$k.log" & pids+=($!)
done
id=$("$dir/coordinator" submit examples/tickets/batch.yaml --redis "$sock")
echo "batch $id"
code=0
rm -f results.jsonl
"$dir/coordinator" results "$id" --follow --out results.jsonl --redis "$sock" || code=$?
"$dir/coordinator" status "$id" --redis "$sock"
head -3 results.jsonl
grep -h -e level=ERROR -e level=WARN "$dir"/worker-*.log || true
exit "$code"
