// Package coordinator is what a person at a terminal does with batches: submit, watch, collect, control, and run one on
// this machine alone.
//
// It is never on the data path: workers claim from Redis by themselves, and a batch ends with every coordinator dead.
// So a coordinator keeps no state that matters. Whatever it was doing when it was killed, the same command run again
// goes on: a submission is found by its fingerprint ([Submit]), and a results file is read for what it holds already
// ([OpenFile]).
//
// One-machine mode ([Run]) is the same code with other wiring: an embedded Redis behind an in-process pipe, workers as
// goroutines, and, when no server is there, the simulated one.
//
// # Goroutines
//
// Each exported function owns what it starts and returns when that has ended. [Run] has one goroutine that feeds, one
// per worker, one that collects and one that shows progress.
//
// # Failure model
//
// Redis being away at the start is an error; later it is waited for, and said once. Errors say what to do;
// [ExitStatus] turns them into the status that scripts rely on. What is written to a results file is on disk before
// anything is forgotten.
//
// Start reading at [Submit], then collect.go.
package coordinator
