// Package client is the command line's side of the HTTP API: `--server URL` uses it instead of Redis.
//
// A [Client] is a [coordinator.Source], so the same code follows results, orders them and writes them to files as with Redis.
// Its errors are those of package coordinator: a problem reported by the server becomes the error of the command, and a missing
// response is an outage that the command waits for.
//
// It starts no goroutine except the one that sends a submission, which ends with the call. It is safe for concurrent use.
package client
