// Package openai is the backend for OpenAI's API, and for any other provider or server of which only the protocol is
// known.
//
// It owns what a paid account needs beyond the chat protocol of package openaichat: the strict form of a schema, limits
// that are the account's, refusals that no waiting cures, keys for the prompt cache, and fields that one model takes and
// the next does not. The chat itself and its failure model are openaichat's.
//
//	openai://                    OpenAI
//	openai://host[/base]         a provider that has OpenAI's own fields (prompt_cache_key, max_completion_tokens)
//	openai+http://host:port      the same without TLS
//	http(s)://host[:port][/base] a provider or server of which nothing but the protocol is known
//
// A path is the base of the routes, as providers print it: https://host/api/v1 asks https://host/api/v1/models. Without
// one it is /v1. The key comes from BATCHAGENT_API_KEY, else OPENAI_API_KEY; the latter is not sent unencrypted to another
// machine.
//
// # Strict schemas
//
// The API holds a model to a schema only if every object in it is closed and needs all its properties ([strictly]). A
// property that may be left out is offered as null, and such nulls are taken out of what comes back, so that answers and
// arguments match the schema that was asked for ([withoutNulls]). A schema that has no strict form is sent as a hint. All
// answers are checked afterwards by the agent in any case.
//
// # What a model does not take
//
// is tried once and then left away: see [Backend.Generate].
//
// A Backend is safe for concurrent use and starts no goroutine. Start reading at [Backend.Generate].
package openai
