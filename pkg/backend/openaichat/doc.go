// Package openaichat implements the client side of the OpenAI chat completions protocol, for self-hosted and paid servers.
//
// It owns the request's JSON, the reading of the stream, and the classification of errors. A server's own fields and
// habits are a [Dialect]. A server's other routes (metrics, tokenizer) belong to the adapter that embeds [Client]. The
// package does not retry, with one exception: if a server refuses a field, the call is repeated without the field. It
// does not log requests or answers.
//
// # What go-openai does here, and its limits
//
// go-openai provides the request types, the URL and the key's header. This package adds three things around it, through
// its HTTPDoer interface (type exchange):
//
//   - Fields that go-openai does not have (priority, request_id) or drops when they are zero (temperature 0, empty content)
//     are inserted into the encoded body, without decoding it again.
//   - Streams are decoded by this package (type events) and not by go-openai. go-openai's decoder rejects a byte order mark,
//     CR as the end of a line, and data of several lines. This decoder copies no event that fits its buffer, limits each
//     event, and has timeouts for silence and for the end (type eventBody).
//   - The model's name is inserted after go-openai's checks, which mistake a served name such as "o1-local" for a paid model.
//
// # Failure model
//
// Every call ends in one [backend.Response] or one error. A stream with a finish reason counts, even if it breaks
// afterwards. Without one it counts if it ended properly and the message is complete by itself. An unreadable event
// that may contain text ends the call with an error, so that no text is lost silently. Closing the connection is the
// abort. It follows a cancelled ctx, silence, a runaway, and a complete answer whose stream does not end.
//
// Errors are parsed in every shape (parseErrorBody) and classified by codes, words and status, in this order.
//
// A Client is safe for concurrent use. A call runs on its caller's goroutine; the transport's own goroutines end with
// the connection. Start reading at [Client.Generate], then type turn.
package openaichat
