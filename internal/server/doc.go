// Package server implements `coordinator serve`: the HTTP API and the dashboard.
//
// It offers the operations of package operation to programs and browsers. It keeps no essential state: batches are in
// Redis, any number of servers may run, and a batch completes without any server. A server keeps rates and sums over
// results only for the dashboard, and rebuilds them after a restart.
//
// # Structure
//
// [Server.routes] is one table that defines both the handlers and the OpenAPI document, so that neither can miss a
// route. A handler returns an error, and problem.go converts it to an RFC 9457 answer with the message of the command
// line. Pages use html/template. An open page receives its content again as an event when it has changed.
//
// # Access
//
// Without a token the server listens on loopback addresses only, or, with --without-token, in a container that publishes
// its port on loopback. It then answers only requests for a loopback host name, so that no web page can reach it through
// another name. With a token, programs send it as a bearer token. Browsers get a cookie that is signed with the token
// and does not contain it. Requests that change something must not come from another site.
//
// # Goroutines and limits
//
// [Server.Serve] owns all goroutines and returns when they have ended. One goroutine watches the active batches. Each
// open stream is a goroutine of net/http; their number is limited ([Config.Streams]). Every write has a deadline. A
// stream reads its next page only after it has written the previous one, so a slow reader costs one page of memory.
// Request rates per client, bodies, concurrent submissions and cancellations are limited, too (I7).
//
// # Failure model
//
// While Redis is away, requests get status 503 and streams wait. A submission that was received completely continues if
// its sender disconnects. Answers, log lines and errors never contain a secret (I9).
//
// Start reading at [Server.routes].
package server
