package sim

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/pkg/batch"
)

// What a reduction says in a run is every index with its status, in order. It is made of the results that the reducer was shown,
// so a result that it did not see, or saw as it was before a retry, is found.

func summaryOf(results []resultEntry) string {
	said := make(map[int64]batch.Status, len(results))
	for _, r := range results {
		said[int64(r.index)] = r.status
	}
	return sumUpOf(said)
}

func sumUpOf(said map[int64]batch.Status) string {
	var out []string
	for index := int64(0); len(out) < len(said); index++ {
		if s, ok := said[index]; ok {
			out = append(out, fmt.Sprintf("%d%.1s", index, s))
		}
	}
	return strings.Join(out, " ")
}

// said is the text of an output.
func said(output json.RawMessage) string {
	var o struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(output, &o)
	return o.Text
}

// bystander checks what a command about the other batch of the run did to this one: nothing, but that the end of a batch
// queues its reduction, or ends it if the batch was cancelled, in the same step.
func (k *checker) bystander(proc string, c call, was, is *state) {
	ended := k.reduces != nil && k.reduces.ended
	cancelled := ended && k.reduces.endedAs == batch.Cancelling
	// Somebody cancelled the reduction itself.
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
		k.fail("I3", "the batch ended, and of the reduction of what was before something is left: %+v, %d turns", is, len(k.job(0).journal))
	case cancelled && (is.phase != batch.Done || is.total != 0 || is.skipped != (was.phase != batch.Cancelling)):
		k.fail("I4", "the batch was cancelled, and its reduction did not end: %+v", is)
	case !cancelled && (is.phase != batch.Sealed || is.fed != 1 || is.total != 1 || len(is.stream) != 1 || is.skipped):
		k.fail("I4", "the batch ended, and its reduction was not queued: %+v", is)
	}
}

// summary checks a result of a reduction. While the batch is open again, anything may stand in it: it is taken back when the batch
// ends, unless that is by being cancelled.
func (k *checker) summary(r batch.Result) {
	if k.reduces.before.phase != batch.Done || k.reduces.endedAs == batch.Cancelling {
		return
	}
	switch want, got := summaryOf(k.reduces.before.results), said(r.Output); {
	case r.Status == batch.OK && got != want:
		k.fail("I2", "the reduction saw %q; the results are %q", got, want)
	case r.Error != nil && r.Error.Type == batch.BadInput:
		k.fail("I2", "the reduction did not see all results: %s", r.Error.Message)
	}
}
