// Package openaichat speaks the OpenAI chat completions protocol, as self-hosted and paid servers have it.
//
// It owns the request's JSON, the stream's reading, and what an error body means. A server's own fields and habits are
// a [Dialect]; a server's other routes (metrics, tokenizer) belong to the adapter that embeds [Client]. It does not
// retry, but for a call that a server refused for a field, which it makes again without the field. It does not log
// requests or answers.
//
// # What go-openai does here, and what it cannot
//
// go-openai gives the request types, the URL and the key's header. Three things are done around it, at its HTTPDoer seam
// (type exchange):
//
//   - Fields that it does not have (priority, request_id), or drops when they are zero (temperature 0, empty content),
//     are spliced into the encoded body, without decoding it again.
//   - Streams are read by a decoder of this package (type events) and not by go-openai's, which takes neither a byte order
//     mark, nor CR as the end of a line, nor data of several lines. It copies no event that fits its buffer, bounds each
//     event, and has clocks for silence and for the end (type eventBody).
//   - The model's name is put in after its checks, which mistake a served name such as "o1-local" for a paid model.
//
// # Failure model
//
// Every call ends in one [backend.Response] or one error. A stream counts with a finish reason, whatever breaks after it.
// Without one it counts if it ended as it should and the message is complete by itself. An event that cannot be read and may
// hold text ends the call with an error, so that no text is lost in silence. Closing the connection is the abort: cancelling
// ctx, silence, a runaway, and a complete answer whose stream does not end all end in that.
//
// Errors are read in every shape (parseErrorBody) and classified by codes, words and status, in this order.
//
// A Client is safe for concurrent use. A call runs on its caller's goroutine; the transport's own goroutines end with
// the connection. Start reading at [Client.Generate], then type turn.
package openaichat
