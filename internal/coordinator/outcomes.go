package coordinator

import (
	"fmt"
	"hash/fnv"

	"github.com/batchagent/batchagent/pkg/batch"
)

// outcomes remembers which results a sink was given. The zero value is ready.
//
// Its memory is one bit per job, about 50 bytes per job without output, which may be replaced after `retry`, and as much per job that may
// be replaced by another one: see subject.
type outcomes struct {
	present  bitmap
	failed   map[int64]failure // without output, by index
	subjects map[int64]uint64  // by index
}

// failure tells one result without output from the next one of the same job.
type failure struct {
	mark   uint64
	status batch.Status
	kind   batch.ErrorType
	again  bool // running the job again may help
}

// Has reports whether the sink was given this result, and needs no other of its job. A server that was restarted gives all of them again.
func (o *outcomes) Has(r batch.Result) bool {
	if !o.present.has(r.Index) {
		return false
	}
	if mark, ok := subject(r); ok {
		if old, known := o.subjects[r.Index]; known && old != mark {
			return false
		}
	}
	old, failed := o.failed[r.Index]
	return !failed || old.mark == markOf(r)
}

func (o *outcomes) note(r batch.Result) {
	if o.failed == nil {
		o.failed, o.subjects = map[int64]failure{}, map[int64]uint64{}
	}
	o.present.set(r.Index)
	if mark, ok := subject(r); ok {
		o.subjects[r.Index] = mark
	}
	if r.Status != batch.OK && r.Error != nil {
		o.failed[r.Index] = failure{markOf(r), r.Status, r.Error.Type, r.Error.Unfinished() || r.Status == batch.StatusCancelled}
	} else {
		delete(o.failed, r.Index)
	}
}

// markOf is the same for the same outcome of the same job, in every format.
func markOf(r batch.Result) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, r.Status, r.Attempts, r.Turns, r.Usage, r.Worker, r.WallMS)
	if r.Error != nil {
		_, _ = fmt.Fprint(h, r.Error.Type)
	}
	return h.Sum64()
}

// subject is a mark of what a result is about, if another result of the same index may be about something else: the item of a plan, which
// Redis may forget, and all that a stage made, because another output of it is another plan or summary.
func subject(r batch.Result) (mark uint64, ok bool) {
	h := fnv.New64a()
	switch {
	case r.Batch.Whole() != r.Batch:
		_, _ = fmt.Fprint(h, markOf(r), string(r.Output))
	case r.Item != nil:
		_, _ = h.Write(r.Item)
	default:
		return 0, false
	}
	return h.Sum64(), true
}
