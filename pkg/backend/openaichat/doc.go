// Package openaichat speaks the OpenAI chat completions protocol, as self-hosted and paid servers have it.
//
// It owns the request's JSON, the stream's reading, and what an error body means. A server's own fields and habits are
// a [Dialect]; a server's other routes (metrics, tokenizer) belong to the adapter that embeds [Client]. It does not
// retry, and it does not log requests or answers.
//
// # What go-openai does here, and what it cannot
//
// go-openai gives the request types, the URL, the key's header and the framing of server-sent events. Four things it
// cannot do are done around it, at its HTTPDoer seam (type exchange):
//
//   - Fields that it does not know (priority, request_id), or drops when they are zero (temperature 0, empty content),
//     are spliced into the encoded body, without decoding it again.
//   - Chunks are taken raw (RecvRaw) and decoded once, into the few fields that matter, among them `reasoning`.
//   - The body that it reads is filtered first (type eventBody): comments and foreign events go, so that no number of
//     keep-alives ends the stream or spoils an error; lines have a bound; silence ends the call; error events are
//     taken out, because go-openai reads them only in one of their shapes.
//   - The model's name is put in after its checks, which mistake a served name such as "o1-local" for a paid model.
//
// # Failure model
//
// Every call ends in one [backend.Response] or one error. A stream counts only with a finish reason; if the
// connection broke, it counts only when the usage, which comes last, had arrived too. Closing the connection is the
// abort: cancelling ctx, silence and a runaway all end in that.
//
// A Client is safe for concurrent use. A call runs on its caller's goroutine; the transport's own goroutines end with
// the connection. Start reading at [Client.Generate], then type turn.
package openaichat
