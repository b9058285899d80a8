// Package server is `coordinator serve`: the HTTP API and the dashboard.
//
// It does for programs and browsers what package coordinator does for a terminal, by calling it. It keeps no state that
// matters: batches are in Redis, any number of servers may run, and a batch finishes with all of them dead. What a server
// remembers (rates, sums over results it has read) is only for show and is made again after a restart.
//
// # Shape
//
// [Server.routes] is one table from which both the handlers and the OpenAPI document are made, so that no route can be
// missing in either. A handler returns an error, and problem.go makes it the answer: RFC 9457, with the sentence that the
// command line would print. Pages are html/template; a page's content is also sent again as an event when it changed.
//
// # Who may
//
// Without a token the server answers only to its own machine (in a container: to whom its port is published), and only to
// requests that name it by a loopback name, so that no web page can reach it by a name of its own. With one, programs send it as a bearer token, and browsers get a
// cookie that is signed with it and does not hold it. Requests that change something must not come from another site.
//
// # Goroutines and bounds
//
// [Server.Serve] owns everything that runs and returns when it has ended. One goroutine watches the active batches. Each
// open stream is a goroutine of net/http; they are bounded ([Config.Streams]), every write has a deadline, and what is
// read for a stream is read only after the write before it went out, so a slow reader costs one page of memory. Request
// rates per client, bodies, submissions and cancellations at once are bounded too (I7).
//
// # Failure model
//
// While Redis is away requests are answered with 503, and streams wait. A submission whose body has come goes on when its
// sender leaves. No answer, log line or error holds a secret (I9).
//
// Start reading at [Server.routes].
package server
