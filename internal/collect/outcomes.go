package collect

import (
	"fmt"
	"hash/fnv"
	"io"

	"github.com/batchagent/batchagent/pkg/batch"
)

// outcomes records which results a sink has. The zero value is ready.
//
// It uses about 8 bytes of memory per job, and about 50 bytes per job without output, whose result `retry` may replace.
type outcomes struct {
	present  Bitmap
	failed   map[int64]failure // results without output, by index
	subjects marks             // by index
}

// marks holds a mark per index. Marks of neighbouring indexes take 8 bytes each. The nil map is empty.
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

// failure identifies a result without output, to distinguish it from a later result of the same job.
type failure struct {
	mark      uint64
	status    batch.Status
	kind      batch.ErrorType
	retryable bool // a retry may succeed
}

// Has reports whether the sink has this result and needs no other of its job. A restarted server returns all results
// again. A result that answers another question than the stored one is needed (I10).
func (o *outcomes) Has(r batch.Result) bool {
	if !o.present.Has(r.Index) {
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
	o.present.Set(r.Index)
	if mark, ok := subject(r); ok {
		o.subjects.set(r.Index, mark)
	}
	if r.Status != batch.OK && r.Error != nil {
		o.failed[r.Index] = failure{markOf(r), r.Status, r.Error.Type, r.Error.Unfinished() || r.Status == batch.StatusCancelled}
	} else {
		delete(o.failed, r.Index)
	}
}

// markOf returns a hash that is equal for the same outcome of the same job, in every format.
func markOf(r batch.Result) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, r.Status, r.Attempts, r.Turns, r.Usage, r.Worker, r.WallMS)
	if r.Error != nil {
		_, _ = fmt.Fprint(h, r.Error.Type)
	}
	return h.Sum64()
}

// subject returns a hash of the question that a result answers. For results of earlier versions it is a hash of the
// plan's item. For a stage it is a hash of the result itself, because another output is another plan or summary. ok is
// false if the result holds none of these.
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
