// Package bedrock is the backend for models on Amazon Bedrock, through its Converse API.
//
// It owns the mapping of a request to Converse's blocks and cache points, of the event stream to a response, and of
// AWS' errors to classes. The AWS SDK signs, sends and decodes. Its retries are off, because the agent retries turns.
// Package blocks holds the code shared with Anthropic's Messages.
//
// URLs: bedrock://[region/][model]. The region defaults to AWS_REGION or the profile's. The model is an ID, an
// inference profile or an ARN. The URL must name it, because this API does not list models. Credentials come from the
// SDK's chain (environment, profile, SSO, roles), or AWS_BEARER_TOKEN_BEDROCK.
//
// # Abilities of models
//
// Models differ: some do not stream, some accept no cache points, some enforce no schema. Each ability is tried once.
// If a model refuses one, later calls omit it, and the log records it once. Converse cannot forbid tool calls while the
// conversation contains some. With [backend.ToolChoiceNone], calls are therefore dropped from the answer.
//
// # Failure model
//
// A stream without a stop reason is Transient. An exception within a stream has the same class as outside of one.
//
// The SDK reads a stream in a goroutine, which ends before Generate returns. Start reading at [Backend.Generate].
package bedrock
