// Package calibrate finds the best number of calls in flight for an inference server, and stores it.
//
// [Measure] ramps up the number of calls against one endpoint and computes goodput from their usage. [scheduler.NextLevel]
// decides when the ramp ends, and [scheduler.BestLevel] which level is best. [File] keeps one [Calibration] per endpoint. It
// records the model, the server's version and the size of its KV cache, so that a calibration is not used for another server at
// the same address.
package calibrate
