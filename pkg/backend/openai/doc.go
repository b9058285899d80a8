// Package openai is the backend for OpenAI's API, and for any other provider or server with the same protocol.
//
// It owns the needs of a paid account beyond the chat protocol of package openaichat: the strict form of a schema,
// account limits, permanent refusals, and keys for the prompt cache. It also handles fields that some models refuse.
// Package openaichat owns the chat itself and its failure model.
//
//	openai://                    OpenAI
//	openai://host[/base]         a provider with OpenAI's own fields (prompt_cache_key, max_completion_tokens)
//	openai+http://host:port      the same without TLS
//	http(s)://host[:port][/base] any other provider or server with the protocol
//
// A path is the base of the routes, as providers document it: for https://host/api/v1 the list of models is
// https://host/api/v1/models. The default is /v1. The key comes from BATCHAGENT_API_KEY or, if that is empty,
// OPENAI_API_KEY. The latter is not sent unencrypted to another machine.
//
// # Strict schemas
//
// The API enforces a schema only if every object in it is closed and requires all its properties ([strictly]). An optional property
// becomes nullable. Such nulls are removed from the output, so that answers and arguments match the original schema ([withoutNulls]). A
// schema without a strict form is sent as a hint. The agent checks all answers in any case.
//
// # Fields that a model refuses
//
// A refused field is tried once and then omitted: see [Backend.Generate].
//
// A Backend is safe for concurrent use and starts no goroutine. Start reading at [Backend.Generate].
package openai
