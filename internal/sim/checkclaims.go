package sim

import (
	"fmt"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// claim checks one new lease.
func (k *checker) claim(proc string, c call, index int, old, now fence) {
	j := k.job(index)
	if now.token <= k.maxToken {
		k.fail("I1", "job %d was claimed by %s with token %d; token %d was granted before", index, proc, now.token, k.maxToken)
	}
	if now.holder != c.named.Consumer {
		k.fail("I1", "job %d was claimed by %s for %s", index, c.named.Consumer, now.holder)
	}
	if old.held() {
		k.lapsed(index, old)
	}
	j.exhausted = j.spent >= k.cfg.maxAttempts
	if !j.exhausted {
		j.spent++
	}
	if told := k.toldExhausted(c, index); told != j.exhausted {
		k.fail("I5", "job %d was claimed with exhausted = %v after %d of %d attempts", index, told, j.spent, k.cfg.maxAttempts)
	}
	if !j.exhausted && now.attempt != j.spent {
		k.fail("I5", "job %d was claimed as attempt %d; it is attempt %d of at most %d", index, now.attempt, j.spent, k.cfg.maxAttempts)
	}
	j.renewed, j.cut = k.now(), k.given[tenure{k.id, index, now}]
	k.given[tenure{k.id, index, now}] = true
	k.reload(index)
	if told := k.toldTurns(c, index); told != len(j.journal) {
		k.fail("I3", "%s claimed job %d and got %d turns; its journal has %d", proc, index, told, len(j.journal))
	}
}

// lapsed checks that a claim was allowed to end a lease.
func (k *checker) lapsed(index int, old fence) {
	k.takeovers++
	k.taken(index, old, k.job(index).renewed)
	if idle := k.now() - k.job(index).renewed; idle < k.cfg.lease-time.Millisecond {
		k.fail("I1", "job %d was taken over from %s %v after it was renewed; a lease is %v", index, old.holder, idle, k.cfg.lease)
	}
	if since, ok := k.sinceSilence(); ok {
		k.fail("I1", "job %d was taken over from %s %v after all workers had lost contact; the holder did not get a whole lease to reconnect",
			index, old.holder, since)
	}
}

// last reports whether a job has one attempt left and lost its worker in all the others.
func (k *checker) last(index int) bool {
	spent := k.job(index).spent
	return spent > 0 && spent == k.cfg.maxAttempts-1
}

// company checks that a last attempt goes alone to a worker that runs no other job.
func (k *checker) company(c call, index int, phase batch.Phase) {
	list, _ := c.reply.([]any)
	last, told := k.last(index) && phase != batch.Cancelling, k.told(c, index)[7] == int64(1)
	if last != told || last && (!c.named.Idle || len(list) != 2) {
		k.fail("I5", "job %d was claimed after %d of %d attempts with %d others, alone = %v, by a worker that sent idle = %v",
			index, k.job(index).spent, k.cfg.maxAttempts, len(list)-2, told, c.named.Idle)
	}
}

// setAside checks a job that a claim kept for its last attempt. The claim took it from a worker or from the released jobs.
func (k *checker) setAside(index int, old, now fence) {
	k.kept = append(k.kept, index)
	if old.held() {
		k.lapsed(index, old)
	}
	if !k.last(index) && k.cfg.budget == 0 { // with a budget, the job may wait for room in it
		k.fail("I4", "job %d is kept to run alone after %d of %d attempts", index, k.job(index).spent, k.cfg.maxAttempts)
	}
	if now.token != old.token || now.attempt != old.attempt {
		k.fail("I5", "keeping job %d to run alone changed its lease to %v; it was %v", index, now, old)
	}
}

// told returns the entry of a job in the answer of a claim.
func (k *checker) told(c call, index int) []any {
	list, _ := c.reply.([]any)
	for _, e := range list[min(1, len(list)):] {
		job, _ := e.([]any)
		if len(job) == 9 && number(fmt.Sprint(job[0])) == index {
			return job
		}
	}
	return make([]any, 8)
}

func (k *checker) toldExhausted(c call, index int) bool { return k.told(c, index)[4] == int64(1) }

func (k *checker) toldTurns(c call, index int) int {
	turns, _ := k.told(c, index)[6].([]any)
	return len(turns)
}

// pulse records that a worker contacted the batch.
func (k *checker) pulse() { k.pulses = append(k.pulses, k.now()) }

// sinceSilence looks for a silence of more than half a lease that ended less than a lease ago. It returns the time since its end.
func (k *checker) sinceSilence() (time.Duration, bool) {
	return k.silence(k.cfg.lease - 2*time.Millisecond)
}

// silence looks for one that ended less than most ago.
func (k *checker) silence(most time.Duration) (time.Duration, bool) {
	for i := len(k.pulses) - 1; i > 0; i-- {
		since := k.now() - k.pulses[i]
		if since >= most {
			break
		}
		if k.pulses[i]-k.pulses[i-1] > k.cfg.lease/2+2*time.Millisecond {
			return since, true
		}
	}
	return 0, false
}
