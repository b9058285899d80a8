package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"time"
)

// lookEvery is how often the file of results is looked at. The end of a node is known that well.
const lookEvery = 50 * time.Millisecond

// ends says when results came, from the start of a run on.
type ends struct {
	came []time.Duration          // of all results, in their order
	last map[string]time.Duration // by worker
}

// watchEnds reads the file of results as it grows, until ctx is done, and then what is left of it.
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
				if err != nil { // the end so far
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

// idle is for how long the nodes had nothing left to do before the batch was over, on average: what a perfect division of the jobs
// among them would have saved, at most. n is the number of nodes that lived to the end.
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

// lastTenth is how long the last tenth of the results took, over a tenth of the time before it. Above 1 the end of a batch drags; below, the last
// agents end sooner, as nobody's prompt is computed beside them any more.
func (e ends) lastTenth() float64 {
	n := len(e.came)
	if n < 10 {
		return 0
	}
	at := e.came[n-1-n/10]
	return (e.came[n-1] - at).Seconds() / (at.Seconds() / 9)
}
