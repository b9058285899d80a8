package collect

import (
	"slices"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
)

// Limits of the entries in a Tally.
const (
	failuresKept = 5
	modelsKept   = 4
	leftOutKept  = 8
)

// Tally sums up results. Its memory does not grow with their number.
type Tally struct {
	OK, Failed, Cancelled int64
	Reused                int64                     // of the results that are OK
	ByType                map[batch.ErrorType]int64 // results without output
	First                 []batch.Result            // the first failures, at most failuresKept, without raw text
	Usage                 batch.Usage
	Tools                 batch.ToolCounts
	Models                []string         // models of the answers, at most modelsKept
	LeftOut               map[string]int64 // by sampling field: results made without it
	WallMS                int64            // of all attempts with times
	Times                 batch.Times
}

// Add adds one result.
func (t *Tally) Add(r batch.Result) {
	t.count(r.Status, 1)
	if r.ReusedFrom != "" {
		t.Reused++
	}
	t.Usage.Add(r.Usage)
	t.Tools.Add(r.Tools)
	t.Times.Add(r.Times)
	if r.Times.Timed() {
		t.WallMS += r.WallMS
	}
	if r.Model != "" && len(t.Models) < modelsKept && !slices.Contains(t.Models, r.Model) {
		t.Models = append(t.Models, r.Model)
	}
	for _, field := range r.LeftOut {
		if t.LeftOut == nil {
			t.LeftOut = make(map[string]int64)
		}
		if _, ok := t.LeftOut[field]; ok || len(t.LeftOut) < leftOutKept {
			t.LeftOut[field]++
		}
	}
	if r.Error == nil {
		return
	}
	if t.ByType == nil {
		t.ByType = make(map[batch.ErrorType]int64)
	}
	t.ByType[r.Error.Type]++
	if r.Status == batch.StatusFailed && len(t.First) < failuresKept {
		t.First = append(t.First, batch.Result{
			JobID: r.JobID, Index: r.Index, ID: r.ID, Status: r.Status,
			Error: &batch.Error{Type: r.Error.Type, Message: human.FirstLine(r.Error.Message, 300)},
		})
	}
}

// replaced subtracts a result with this index, status and error type. Its tokens and tool calls stay counted, because
// they were used.
func (t *Tally) replaced(index int64, s batch.Status, e batch.ErrorType) {
	t.count(s, -1)
	if t.ByType[e] > 1 {
		t.ByType[e]--
	} else {
		delete(t.ByType, e)
	}
	t.First = slices.DeleteFunc(t.First, func(r batch.Result) bool { return r.Index == index })
}

func (t *Tally) count(s batch.Status, n int64) {
	switch s {
	case batch.OK:
		t.OK += n
	case batch.StatusCancelled:
		t.Cancelled += n
	default:
		t.Failed += n
	}
}
