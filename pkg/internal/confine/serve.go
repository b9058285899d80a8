package confine

import (
	"encoding/gob"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// idleTime is how long a child waits for its next request before it exits.
const idleTime = time.Minute

// serve is the main function of the child: it serves requests until its input ends. It returns the exit status.
func serve(in io.Reader, out io.Writer, limits Limits, run func([]byte) ([]byte, error)) int {
	debug.SetMemoryLimit(int64(limits.Memory) / 4 * 3) //nolint:gosec // far below the largest
	// The limits are set before the first request, so that no computation runs without them.
	if limit(limits) != nil {
		run = func([]byte) ([]byte, error) {
			return nil, errors.New("this system cannot limit a process, so the computation does not run")
		}
	}
	requests := make(chan request)
	go func() {
		// Reads on while a request runs, so that the end of the parent ends the computation.
		for dec := gob.NewDecoder(in); ; {
			var r request
			if dec.Decode(&r) != nil {
				os.Exit(0)
			}
			requests <- r
		}
	}()
	enc := gob.NewEncoder(out)
	for {
		select {
		case r := <-requests:
			text, err := recovered(run, r.In)
			answer := reply{Out: text, Worn: worn(limits)}
			if err != nil {
				answer.Failed, answer.Error = true, err.Error()
			}
			if enc.Encode(answer) != nil {
				return 1
			}
		case <-time.After(idleTime):
			return 0
		}
	}
}

// recovered calls run and returns a panic as an error.
func recovered(run func([]byte) ([]byte, error), in []byte) (out []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = nil, errors.New("broke down")
		}
	}()
	return run(in)
}

// worn reports whether too little of the limits may be left for the next computation.
func worn(limits Limits) bool {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys > limits.Memory/lifetime || cpuTime() > limits.CPU/lifetime
}
