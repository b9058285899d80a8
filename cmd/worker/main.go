// Command worker runs agents on one node: it claims jobs from Redis and runs them against one inference server.
package main

import "github.com/batchagent/batchagent/cmd/worker/app"

func main() { app.Main("worker") }
