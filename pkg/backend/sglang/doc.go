// Package sglang is the backend for an SGLang server.
//
// It owns SGLang's features beyond the chat protocol of package openaichat, as observed on a real 0.5.23: priorities
// with higher first and unset ones last, request IDs and the abort route, the server's page of settings, load gauges
// that become stale, and checks that the server omits. Package openaichat owns the chat itself and its failure model.
//
// URLs: sglang://host:port (the default port is 30000), sglang+http:// the same, sglang+https://host/prefix. The API
// key comes from BATCHAGENT_API_KEY or, if that is empty, SGLANG_API_KEY.
//
// # Checks that the server omits
//
//   - The model's name: the server accepts any name and echoes it. The adapter compares the name with the server's list. It
//     reads the list again when the list is older than half a minute or a call failed.
//   - Earlier tool calls: the server permanently refuses a conversation whose arguments are not a JSON object, so they are
//     repaired before sending.
//   - A prompt and max_tokens that exceed the window together are refused; the call is repeated with the remaining tokens.
//
// The page of settings shows API keys in clear text. The adapter reads a few numbers and flags from it. It never keeps,
// logs or returns the page itself.
//
// A Backend is safe for concurrent use. Aborts of cancelled calls and ends of sessions run on their own goroutines, few at a
// time and each for at most 2 s. Close waits for them. Start reading at [Backend.Generate].
package sglang
