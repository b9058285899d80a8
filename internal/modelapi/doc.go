// Package modelapi serves the APIs of OpenAI and Anthropic to a program, in front of one session's model calls.
//
// It decodes a request into a [backend.Request], makes the call with a [Caller], and encodes the [backend.Response] in the API of the
// request. It decides nothing about slots, retries, budgets or the journal: the caller does.
//
// # Untrusted input
//
// A program's request is untrusted. The size of a body, its nesting, the number of its messages and the number of choices are limited.
// A name that occurs twice in an object is refused, because one of the values would be lost.
//
// Start reading at [New].
package modelapi
