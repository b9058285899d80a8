package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// position is the ID of an entry in a job stream.
type position struct{ ms, seq int }

func positionOf(id string) position {
	ms, seq, _ := strings.Cut(id, "-")
	return position{number(ms), number(seq)}
}

func (p position) compare(o position) int {
	return cmp.Or(cmp.Compare(p.ms, o.ms), cmp.Compare(p.seq, o.seq))
}

// span is a range of parked jobs: the entries <first>-0 to <last>-0.
type span struct{ first, last int }

// readParked reads the hash of parked jobs, and what the consumer group has read. The times in the hash are left out: the books have
// their own.
func (st *state) readParked(parked, groups any) {
	st.parked = make(map[string]span)
	for worker, text := range pairs(parked) {
		var s span
		var seen int
		if _, err := fmt.Sscanf(text, "%d %d %d", &s.first, &s.last, &seen); err == nil {
			st.parked[worker] = s
		}
	}
	list, _ := groups.([]any)
	for _, group := range list {
		st.delivered = positionOf(pairs(group)["last-delivered-id"])
	}
}

// owners returns the workers that each entry is parked for.
func (st *state) owners() map[string][]string {
	out := make(map[string][]string)
	for worker, s := range st.parked {
		for p := s.first; p <= s.last; p++ {
			id := fmt.Sprintf("%d-0", p)
			out[id] = append(out[id], worker)
		}
	}
	return out
}

// unread reports whether the stream has entries that no claim has read.
func (st *state) unread() bool {
	for id := range st.stream {
		if positionOf(id).compare(st.delivered) > 0 {
			return true
		}
	}
	return false
}

// parkedJobs checks that each job that was read is either leased, queued again, or parked for one worker.
func (k *checker) parkedJobs(st *state) {
	owners := st.owners()
	for id, index := range st.stream {
		_, leased := st.lease[index]
		_, pending := st.pending[id]
		switch n := len(owners[id]); {
		case n > 1:
			k.fail("I2", "job %d is parked %d times", index, n)
		case n == 1 && (leased || pending):
			k.fail("I2", "job %d is parked, and it is leased as %v or pending", index, st.lease[index])
		case n == 0 && !leased && !pending && positionOf(id).compare(st.delivered) <= 0:
			k.fail("I4", "job %d was read, but it is neither leased nor parked", index)
		}
		delete(owners, id)
	}
	for id := range owners {
		k.fail("I4", "%s is parked, but the stream has no such entry", id)
	}
	for worker := range st.parked {
		if k.seen[worker] == 0 {
			k.fail("I4", "jobs are parked for %s, which never claimed", worker)
		}
	}
}

// life records a sign of life of a worker, or that it gave its parked jobs up.
func (k *checker) life(c call, was *state) {
	switch c.verb {
	case "claim":
		k.seen[c.named.Consumer] = k.now()
		delete(k.gaveUp, c.named.Consumer)
	case "renew":
		k.seen[c.named.Consumer] = k.now()
	case "release":
		for _, l := range c.leases() {
			if was.lease[l.index] == l.fence {
				k.gaveUp[l.fence.holder] = true
			}
		}
	}
}

// place checks which worker's parked jobs a claim took.
func (k *checker) place(c call, was, is *state) {
	if !k.cfg.grouped || was.phase == batch.Done || !was.exists {
		return
	}
	me, owners := c.named.Consumer, was.owners()
	for id, index := range is.stream {
		if !is.lease[index].held() || was.lease[index] == is.lease[index] {
			continue
		}
		for _, owner := range owners[id] {
			alive := k.now()-k.seen[owner] < k.cfg.lease-time.Millisecond && !k.gaveUp[owner]
			if owner != me && alive && is.unread() && was.phase != batch.Cancelling {
				k.fail("I4", "%s took job %d, which is parked for the living %s, while new jobs wait", me, index, owner)
			}
		}
	}
	// Grouping delays no job for ever. Only a claim that is not limited by a budget can be judged.
	list, _ := c.reply.([]any)
	if k.cfg.budget > 0 || len(is.parked) == 0 {
		return
	}
	if got := len(list) - 1; got < c.named.Count {
		k.fail("I4", "%s asked for %d jobs and got %d, while jobs are parked for %v", me, c.named.Count, got, slices.Sorted(maps.Keys(is.parked)))
	}
	_, outage := k.silence(k.cfg.lease + 10*time.Millisecond)
	for owner := range was.parked {
		dead := k.now()-k.seen[owner] > k.cfg.lease+k.cfg.lease/5+time.Millisecond
		if _, still := is.parked[owner]; still && owner != me && dead && !outage && is.delivered != was.delivered {
			k.fail("I4", "%s took new jobs, while jobs of %s wait, which was last seen %v ago", me, owner, k.now()-k.seen[owner])
		}
	}
}
