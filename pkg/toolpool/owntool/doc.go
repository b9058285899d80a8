// Package owntool makes tools of what a worker's operator already has: Go functions ([Func]), programs ([Command]) and
// HTTP services ([HTTP]).
//
// It owns how a model's arguments get there. They are values, never code: a program gets them as whole elements of its
// argument list or as JSON on standard input, no shell reads them; a URL gets them escaped, and never in its host.
//
// Processes run in a group of their own, which is killed when the call ends. Output and answers are bounded. The
// package keeps no state; goroutines end with the call.
//
// Start reading at [Command.Tool].
package owntool
