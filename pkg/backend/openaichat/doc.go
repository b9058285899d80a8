// Package openaichat implements the client side of the OpenAI chat completions protocol, for self-hosted and paid servers.
//
// It owns the request's JSON, the reading of the stream, and the classification of errors. A server's own fields and
// habits are a [Dialect]. A server's other routes (metrics, tokenizer) belong to the adapter that embeds [Client]. The
// package does not retry, with one exception: if a server refuses a field, the call is repeated without the field. It
// does not log requests or answers.
//
// # Why no SDK
//
// Earlier versions built requests with go-openai. It cannot send the fields that servers add (priority, request_id), drops values of
// zero (temperature 0, empty content), and refuses some names of models. Its decoder of streams rejects a byte order mark, CR as the
// end of a line, and data of several lines. The body (type object) has ordered members and encodes raw JSON as it is. The decoder
// (type events) copies no event that fits its buffer, limits each event, and has timeouts for silence and for the end (type
// eventBody).
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
