package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// books are what the checker keeps beside what Redis holds. They are about the data as it is: when Redis forgets its last
// seconds, they forget them too.
type books struct {
	before    *state
	jobs      map[int]*job
	pulses    []time.Duration // when some worker was in touch with the batch
	maxToken  int64
	takeovers int
	retried   bool
	endedAs   batch.Phase // the phase that the batch was in before its end; [batch.Cancelling] if that was a cancellation
}

// job is what the checker knows of one job.
type job struct {
	spent     int // attempts since it was fed or retried, those handed back not counted
	exhausted bool
	renewed   time.Duration // when the lease was last claimed or renewed
	journal   []string
	// cut: Redis forgot turns that the holder of the lease was told are safe, or that it gave out this very lease before.
	cut bool
}

func newBooks() books { return books{before: &state{}, jobs: make(map[int]*job)} }

// copy is for looking at later: states, journals and pulses are never changed in place.
func (b books) copy() books {
	b.jobs = maps.Clone(b.jobs)
	for index, j := range b.jobs {
		kept := *j
		b.jobs[index] = &kept
	}
	b.pulses = slices.Clip(b.pulses)
	return b
}

// page is what the books were after the commands of an instant.
type page struct {
	at time.Duration
	books
}

// furthest is how far back Redis may forget.
const furthest = 3 * time.Second

// keep writes the books down, if Redis is to forget anything in this run.
func (k *checker) keep() {
	if !k.cfg.forgets() {
		return
	}
	now := k.now()
	if n := len(k.pages); n > 0 && k.pages[n-1].at == now {
		k.pages = k.pages[:n-1]
	}
	// One that is older than all that may be forgotten stays.
	if old := slices.IndexFunc(k.pages, func(p page) bool { return p.at >= now-furthest }); old > 1 {
		k.pages = slices.Delete(k.pages, 0, old-1)
	}
	k.pages = append(k.pages, page{now, k.books.copy()})
}

// forget puts the books back to what they were. It is told when Redis has forgotten everything since.
func (k *checker) forget(until time.Duration) {
	lost := k.books
	k.books = newBooks()
	for len(k.pages) > 0 && k.pages[len(k.pages)-1].at > until {
		k.pages = k.pages[:len(k.pages)-1]
	}
	if n := len(k.pages); n > 0 {
		k.books = k.pages[n-1].copy()
	}
	found, err := k.redis.read(k.id)
	if err != nil {
		k.fail("sim", "%v", err)
		return
	}
	if !found.equal(k.before) {
		k.fail("sim", "Redis started with %+v; at %v it had %+v", found, until, k.before)
	}
	for index, j := range k.jobs {
		if now := lost.jobs[index]; k.before.lease[index].held() && k.before.lease[index] == lost.before.lease[index] {
			j.cut = j.cut || now.cut || len(now.journal) > len(j.journal)
		}
	}
	if n := len(k.pages); n > 0 { // Redis may go back to this page once more
		k.pages[n-1].books = k.books.copy()
	}
}
