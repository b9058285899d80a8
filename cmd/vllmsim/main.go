// Command vllmsim serves a simulated vLLM for laptops, tests and benchmarks.
package main

import "github.com/batchagent/batchagent/cmd/vllmsim/app"

func main() { app.Main("vllmsim") }
