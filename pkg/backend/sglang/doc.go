// Package sglang is the backend for an SGLang server.
//
// It owns what SGLang has beyond the chat protocol of package openaichat, as a real 0.5.23 showed it: priorities that
// sort the other way round and put unset ones last, request IDs and the abort route, the server's page of settings,
// load gauges that go stale, and the checks that the server leaves out. The chat itself and its failure model are
// openaichat's.
//
// URLs: sglang://host:port (port 30000 if none is given), sglang+http:// the same, sglang+https://host/prefix. The API
// key comes from BATCHAGENT_API_KEY, else SGLANG_API_KEY.
//
// # What is checked here because the server does not
//
//   - The model's name: the server takes any and echoes it. It is compared with the server's list, which is asked again
//     when it is older than half a minute or a call failed.
//   - Earlier tool calls: arguments that are not a JSON object make the server refuse the conversation for ever, so they
//     are repaired before they are sent.
//   - A prompt and max_tokens that together are over the window are refused; the call is made again with the room left.
//
// The page of settings shows API keys in clear. Four numbers and flags are read from it; the page itself is never kept,
// logged or told.
//
// A Backend is safe for concurrent use. Aborts of calls that were given up run on goroutines of their own, few at a
// time and each for at most 2 s; Close waits for them. Start reading at [Backend.Generate].
package sglang
