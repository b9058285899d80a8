package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// books is the checker's own record of a batch, kept beside the data in Redis. It follows that data: when Redis loses its last
// seconds, the books are reset to the same instant.
type books struct {
	before    *state
	jobs      map[int]*job
	pulses    []time.Duration // when a worker contacted the batch
	maxToken  int64
	takeovers int
	retried   bool
	seen      map[string]time.Duration // worker -> its last claim or renewal
	gaveUp    map[string]bool          // workers that released a job after their last claim
	endedAs   batch.Phase              // the phase before the batch ended; [batch.Cancelling] if a cancellation ended it
}

// job is the checker's record of one job.
type job struct {
	spent     int // attempts since the job was fed or retried; released ones do not count
	exhausted bool
	renewed   time.Duration // when the lease was last claimed or renewed
	journal   []string
	// cut is set when Redis lost turns that it had acknowledged to the holder of the lease. It is also set when Redis granted the
	// same lease twice.
	cut bool
}

func newBooks() books {
	return books{
		before: &state{}, jobs: make(map[int]*job), seen: make(map[string]time.Duration), gaveUp: make(map[string]bool),
	}
}

// copy returns a snapshot. It shares states, journals and pulses, which are never changed in place.
func (b books) copy() books {
	b.jobs = maps.Clone(b.jobs)
	for index, j := range b.jobs {
		kept := *j
		b.jobs[index] = &kept
	}
	b.pulses = slices.Clip(b.pulses)
	b.seen, b.gaveUp = maps.Clone(b.seen), maps.Clone(b.gaveUp)
	return b
}

// page is a snapshot of the books after all commands of one instant.
type page struct {
	at time.Duration
	books
}

// furthest is the longest span of writes that Redis may lose.
const furthest = 3 * time.Second

// keep saves a page of the books if Redis loses writes in this run.
func (k *checker) keep() {
	if !k.cfg.forgets() {
		return
	}
	now := k.now()
	if n := len(k.pages); n > 0 && k.pages[n-1].at == now {
		k.pages = k.pages[:n-1]
	}
	// Keep one page that is older than everything Redis may lose.
	if old := slices.IndexFunc(k.pages, func(p page) bool { return p.at >= now-furthest }); old > 1 {
		k.pages = slices.Delete(k.pages, 0, old-1)
	}
	k.pages = append(k.pages, page{now, k.books.copy()})
}

// forget restores the books of the given instant. The caller has just made Redis lose everything after it.
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
		now, held := lost.jobs[index], k.before.lease[index]
		switch {
		case !held.held():
		case lost.before.finished[index]: // the holder ends the job again, with the turns of the lost time
			j.cut = true
		case held == lost.before.lease[index]:
			j.cut = j.cut || now.cut || len(now.journal) > len(j.journal)
		}
	}
	if n := len(k.pages); n > 0 { // Redis may return to this page once more
		k.pages[n-1].books = k.books.copy()
	}
}
