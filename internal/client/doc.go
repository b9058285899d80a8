// Package client is the command line's side of the HTTP API: what `--server URL` talks to instead of Redis.
//
// A [Client] is a [coordinator.Source], so results are followed, ordered and written to files by the same code that reads
// them from Redis. Its errors are those of package coordinator: a problem that the server tells becomes the error that the
// command would have ended with, and an answer that does not come is an outage that is waited for.
//
// It starts no goroutine but the one that writes a submission, which ends with the call. It is safe for concurrent use.
package client
