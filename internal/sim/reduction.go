package sim

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/pkg/batch"
)

// In a simulated run, the output of a reduction lists every index with its status, in order. The reducer makes it from the
// results in its prompt. The checks therefore detect a result that it missed, or that a retry has replaced since.

func summaryOf(results []resultEntry) string {
	statuses := make(map[int64]batch.Status, len(results))
	for _, r := range results {
		statuses[int64(r.index)] = r.status
	}
	return sumUpOf(statuses)
}

func sumUpOf(statuses map[int64]batch.Status) string {
	var out []string
	for index := int64(0); len(out) < len(statuses); index++ {
		if s, ok := statuses[index]; ok {
			out = append(out, fmt.Sprintf("%d%.1s", index, s))
		}
	}
	return strings.Join(out, " ")
}

// summaryIn returns the text of an output.
func summaryIn(output json.RawMessage) string {
	var o struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(output, &o)
	return o.Text
}

// bystander checks the effect of a command on the other batch of the run. It must have none, with one exception. The step that
// ends a batch also queues its reduction, or ends the reduction if the batch was cancelled.
func (k *checker) bystander(proc string, c call, was, is *state) {
	ended := k.reduces != nil && k.reduces.ended
	cancelled := ended && k.reduces.endedAs == batch.Cancelling
	// A user cancelled the reduction itself.
	refused := was.phase == batch.Cancelling || was.phase == batch.Done && was.total == 0 && !was.skipped
	if !ended || cancelled && was.phase == batch.Done || !cancelled && refused {
		if !was.equal(is) {
			k.fail("I1", "%s changed %s by a %s of %q from %+v to %+v", proc, k.id, c.verb, c.batch(), was, is)
		}
		return
	}
	k.pulse()
	k.jobs, k.anew = make(map[int]*job), true
	k.retried = k.retried || len(was.results) > 0
	k.reload(0)
	left := len(is.results) + len(is.lease) + len(is.pending) + len(is.back) + len(is.alone) + len(is.finished) + len(k.job(0).journal)
	switch {
	case left > 0:
		k.fail("I3", "the batch ended, but the previous reduction left something: %+v, %d turns", is, len(k.job(0).journal))
	case cancelled && (is.phase != batch.Done || is.total != 0 || is.skipped != (was.phase != batch.Cancelling)):
		k.fail("I4", "the batch was cancelled, but its reduction did not end: %+v", is)
	case !cancelled && (is.phase != batch.Sealed || is.fed != 1 || is.total != 1 || len(is.stream) != 1 || is.skipped):
		k.fail("I4", "the batch ended, but its reduction was not queued: %+v", is)
	}
}

// summary checks a result of a reduction. It checks nothing while the batch is open again or was cancelled: the end of the batch
// resets the reduction, unless it is a cancellation.
func (k *checker) summary(r batch.Result) {
	if k.reduces.before.phase != batch.Done || k.reduces.endedAs == batch.Cancelling {
		return
	}
	switch want, got := summaryOf(k.reduces.before.results), summaryIn(r.Output); {
	case r.Status == batch.OK && got != want:
		k.fail("I2", "the reduction saw %q; the results are %q", got, want)
	case r.Error != nil && r.Error.Type == batch.BadInput:
		k.fail("I2", "the reduction did not see all results: %s", r.Error.Message)
	}
}
