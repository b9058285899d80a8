package coordinator

import (
	"fmt"
	"hash/fnv"
	"io"

	"github.com/batchagent/batchagent/pkg/batch"
)

// outcomes remembers which results a sink was given. The zero value is ready.
//
// Its memory is about 8 bytes per job, and about 50 bytes per job without output, which may be replaced after `retry`.
type outcomes struct {
	present  bitmap
	failed   map[int64]failure // without output, by index
	subjects marks             // by index
}

// marks holds a mark for each index, 8 bytes each where indexes lie close together. The nil map has none.
type marks map[int64]*[marksAtOnce]uint64

const marksAtOnce = 512

// get returns 0 for an index without a mark.
func (m marks) get(i int64) uint64 {
	if page := m[i/marksAtOnce]; page != nil {
		return page[i%marksAtOnce]
	}
	return 0
}

func (m marks) set(i int64, mark uint64) {
	page := m[i/marksAtOnce]
	if page == nil {
		page = new([marksAtOnce]uint64)
		m[i/marksAtOnce] = page
	}
	page[i%marksAtOnce] = mark
}

// failure tells one result without output from the next one of the same job.
type failure struct {
	mark   uint64
	status batch.Status
	kind   batch.ErrorType
	again  bool // running the job again may help
}

// Has reports whether the sink was given this result, and needs no other of its job. A server that was restarted gives all of them again.
// A result that answers another question than the one before it is needed (I10).
func (o *outcomes) Has(r batch.Result) bool {
	if !o.present.has(r.Index) {
		return false
	}
	if mark, ok := subject(r); ok {
		if old := o.subjects.get(r.Index); old != 0 && old != mark {
			return false
		}
	}
	old, failed := o.failed[r.Index]
	return !failed || old.mark == markOf(r)
}

func (o *outcomes) note(r batch.Result) {
	if o.failed == nil {
		o.failed, o.subjects = map[int64]failure{}, marks{}
	}
	o.present.set(r.Index)
	if mark, ok := subject(r); ok {
		o.subjects.set(r.Index, mark)
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

// subject returns a mark of what a result is about: the question that it answers, or in results of earlier versions the item of a plan.
// Everything that a stage made is about itself, because another output of it is another plan or summary. ok is false if nothing tells.
func subject(r batch.Result) (mark uint64, ok bool) {
	h := fnv.New64a()
	switch {
	case r.Batch.Whole() != r.Batch:
		_, _ = fmt.Fprint(h, markOf(r), string(r.Output))
	case r.Question != "":
		_, _ = io.WriteString(h, r.Question)
	case r.Item != nil:
		_, _ = h.Write(r.Item)
	default:
		return 0, false
	}
	return max(h.Sum64(), 1), true
}
