// Package coordinator implements the user's commands on batches: submit, watch, collect, control, and run one on this
// machine alone.
//
// Jobs and results never pass through a coordinator: workers claim from Redis directly, and a batch completes without
// any coordinator. So a coordinator keeps no essential state. If it is killed, the same command resumes its work.
// [Submission.Submit] finds a submission by its fingerprint. [OpenFile] reads the results that a file already holds.
//
// One-machine mode ([Run]) is the same code with other wiring. It has an embedded Redis behind an in-process pipe and
// workers as goroutines. If no model server is found, it starts the simulated one.
//
// # Goroutines
//
// Each exported function owns the goroutines that it starts and returns when they have ended. [Run] has one goroutine
// that feeds, one per worker, one that collects and one that shows progress.
//
// # Failure model
//
// A missing Redis at the start is an error. Later outages are waited out and reported once. Errors name the next step;
// [ExitStatus] maps them to the exit status that scripts rely on. Results are on disk in the results file before Redis
// drops them.
//
// Start reading at [Submission.Submit], then collect.go.
package coordinator
