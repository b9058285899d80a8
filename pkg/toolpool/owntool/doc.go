// Package owntool makes tools of Go functions ([Func]), programs ([Command]) and HTTP services ([HTTP]) that the
// worker's operator provides.
//
// It owns the passing of a model's arguments. Arguments are values, never code. A program gets them as whole elements
// of its argument list or as JSON on standard input, without a shell. A URL gets them escaped, and never in its host.
//
// Each process runs in its own group, which is killed when the call ends. Outputs and answers have limits. The package
// keeps no state; its goroutines end with the call.
//
// Start reading at [Command.Tool].
package owntool
