package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"time"
)

// lookEvery is the interval at which the file of results is read. Ends of nodes have this precision.
const lookEvery = 50 * time.Millisecond

// ends records when results arrived, since the start of a run.
type ends struct {
	came []time.Duration          // times of all results, in order
	last map[string]time.Duration // time of the last result, by worker
}

// watchEnds reads the growing file of results until ctx is done, and then once more.
func watchEnds(ctx context.Context, path string, began time.Time) <-chan ends {
	out := make(chan ends, 1)
	go func() {
		e := ends{last: map[string]time.Duration{}}
		defer func() { out <- e }()
		var f *os.File
		var lines *bufio.Reader
		var part []byte
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for over := false; !over; {
			select {
			case <-ctx.Done():
				over = true
			case <-tick.C:
			}
			if f == nil {
				var err error
				if f, err = os.Open(path); err != nil {
					continue
				}
				defer f.Close()
				lines = bufio.NewReader(f)
			}
			now := time.Since(began)
			for {
				text, err := lines.ReadBytes('\n')
				part = append(part, text...)
				if err != nil { // the current end of the file
					break
				}
				var r struct{ Worker string }
				if json.Unmarshal(part, &r) == nil {
					e.came = append(e.came, now)
					e.last[r.Worker] = now
				}
				part = part[:0]
			}
		}
	}()
	return out
}

// idle returns the average time for which nodes had no work left before the batch was done. A perfect division of the jobs would
// have saved at most this time. n is the number of nodes that survived.
func (e ends) idle(n int) time.Duration {
	if len(e.came) == 0 || n == 0 {
		return 0
	}
	end, sum := e.came[len(e.came)-1], time.Duration(0)
	for _, last := range e.last {
		sum += end - last
	}
	return sum / time.Duration(n)
}

// lastTenth returns the duration of the last tenth of the results, relative to the average tenth before it. Above 1 the end of a
// batch is slow. Below 1 the last agents finish faster, because no other prompts are computed beside them.
func (e ends) lastTenth() float64 {
	n := len(e.came)
	if n < 10 {
		return 0
	}
	at := e.came[n-1-n/10]
	return (e.came[n-1] - at).Seconds() / (at.Seconds() / 9)
}
