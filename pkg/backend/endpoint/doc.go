// Package endpoint holds the code that every adapter of an HTTP server needs, for any protocol.
//
// It owns the parsing of an endpoint's URL ([ParseURL]), the transport for many long streams ([NewTransport]), the
// trace header ([Traced]), and the text of a refusal: a message that fits on one line ([OneLine]). The adapter
// interprets the refusal. [Key] reads a key from the environment.
//
// [Refusals] remembers the abilities that a model refused. Otherwise the package keeps no state, and it makes no
// connection. Everything is safe for concurrent use.
package endpoint
