// Package bedrock is the backend for models on Amazon Bedrock, by its Converse API.
//
// It owns the mapping of a request to Converse's blocks and cache points, of the event stream to a response, and of
// AWS' errors to classes. The AWS SDK signs, sends and decodes; its retries are off, because the agent retries turns.
// What the protocol shares with Anthropic's Messages is in package blocks.
//
// URLs: bedrock://[region/][model]. The region defaults to AWS_REGION or the profile's. The model is an ID, an
// inference profile or an ARN, and has to be named in the URL: this API does not list models. Credentials come from
// the SDK's chain (environment, profile, SSO, roles), or AWS_BEARER_TOKEN_BEDROCK.
//
// # What models do not take
//
// Models differ: some do not stream, some take no cache points, some enforce no schema. Each is tried once; what a
// model refuses is left away from then on, and said in the log once. Converse has no way to forbid tool calls while
// the conversation holds some, so with [backend.ToolChoiceNone] calls are dropped from the answer.
//
// # Failure model
//
// A stream without a stop reason is Transient. An exception within a stream has the class that it has as a status.
//
// The SDK reads a stream in a goroutine, which has ended when Generate returns. Start reading at [Backend.Generate].
package bedrock
