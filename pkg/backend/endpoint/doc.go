// Package endpoint holds what every adapter needs that reaches a model server by HTTP, whatever the protocol above it.
//
// It owns the reading of an endpoint's URL ([ParseURL]), the transport for many long streams ([NewTransport]), the header of
// a trace ([Traced]), and the plain part of a refusal: a message that fits on one line ([OneLine]). What a refusal means is
// the adapter's business. [Key] reads a key from the environment.
//
// [Refusals] remembers what a model was found not to take. Beside that it keeps no state, and connects to nothing. Everything is safe for concurrent use.
package endpoint
