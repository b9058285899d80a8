// Package calibrate finds how many calls an inference server should have in flight, and remembers it.
//
// [Measure] ramps the number of calls up against one endpoint and reads goodput from their usage; what ends the ramp and which level is
// best is decided by [scheduler.NextLevel] and [scheduler.BestLevel]. [File] keeps one [Calibration] per endpoint, with the model, the
// server's version and the size of its KV cache, so that it is not believed of another server under the same address.
package calibrate
