// Package backendtest holds shared test code for backends: a server that replays recorded traffic byte for byte
// ([Replay]), and the conformance suite of all adapters on a server with known abilities ([Run]).
//
// No binary links it. Every goroutine that it starts ends with the test. Start reading at [Replay].
package backendtest
