// Package backendtest holds what tests of backends share: a server that replays recorded traffic byte for byte
// ([Replay]), and the suite that every adapter passes on a server with known abilities ([Run]).
//
// It reaches no binary. Every goroutine that it starts has ended when the test has. Start reading at [Replay].
package backendtest
