package diagnose

import "github.com/batchagent/batchagent/pkg/batch"

const (
	// firstCallsFrom is the number of jobs from which a call is recommended.
	firstCallsFrom = 10
	// firstCallsKept limits the different calls that are counted.
	firstCallsKept = 64
)

// firstCalls counts the calls of first turns that follow from the inputs. Its memory is bounded.
type firstCalls struct {
	jobs  int64
	count map[string]*Preload
}

// add counts a job that ran. Results have first calls for the first inputs only, so later jobs do not count.
func (f *firstCalls) add(r batch.Result) {
	if r.Turns < 1 || r.ReusedFrom != "" || r.Index >= batch.FirstCalls {
		return
	}
	f.jobs++
	if r.FirstCall == nil {
		return
	}
	key := r.FirstCall.Tool + " " + string(r.FirstCall.Args)
	p := f.count[key]
	if p == nil && len(f.count) < firstCallsKept {
		if f.count == nil {
			f.count = map[string]*Preload{}
		}
		p = &Preload{FirstCall: *r.FirstCall}
		f.count[key] = p
	}
	if p != nil {
		p.Jobs++
	}
}

// recommended returns the call that most jobs made, or nil.
func (f *firstCalls) recommended() *Preload {
	for _, p := range f.count {
		if f.jobs >= firstCallsFrom && 2*p.Jobs > f.jobs {
			out := *p
			out.Of = f.jobs
			return &out
		}
	}
	return nil
}
