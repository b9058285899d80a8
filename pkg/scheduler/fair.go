package scheduler

import "cmp"

// Candidate is a batch with jobs to claim.
type Candidate struct {
	Batch    string
	Owner    string
	Priority int // higher first, among the batches of one owner
}

// FairShare decides which batch the next jobs come from. Owners get equal shares of the jobs, regardless of the number and size of
// their batches: the owner with the fewest jobs served is next (start-time fair queueing, Goyal, Vin and Cheng, 1996, with jobs
// as the unit). Within an owner, batches of higher priority go first, and batches of equal priority share equally.
//
// A new owner or batch starts at the count of the least served one. So it neither waits for the others nor catches up on the
// time before it came. Not safe for concurrent use.
type FairShare struct {
	owners  map[string]float64 // jobs served, plus the owner's starting count
	batches map[string]float64
}

// NewFairShare returns a FairShare without owners.
func NewFairShare() *FairShare {
	return &FairShare{owners: map[string]float64{}, batches: map[string]float64{}}
}

// Meet sets the current batches: all that have jobs or may get some. It adds new owners and batches and drops the others, so
// that the number of candidates limits the memory.
func (f *FairShare) Meet(all []Candidate) {
	f.owners = joined(f.owners, all, func(c Candidate) string { return c.Owner })
	f.batches = joined(f.batches, all, func(c Candidate) string { return c.Batch })
}

// Next returns the index of the candidate to serve next, or -1 if all is empty. All candidates must have been in the last Meet.
func (f *FairShare) Next(all []Candidate) int {
	best := -1
	for i, c := range all {
		if best < 0 || f.compare(c, all[best]) < 0 {
			best = i
		}
	}
	return best
}

// Served records that jobs of a batch were claimed.
func (f *FairShare) Served(c Candidate, jobs int) {
	f.owners[c.Owner] += float64(jobs)
	f.batches[c.Batch] += float64(jobs)
}

// Quantum returns how many of room jobs to claim at once, so that every owner among the candidates gets some.
func Quantum(all []Candidate, room int) int {
	owners := map[string]bool{}
	for _, c := range all {
		owners[c.Owner] = true
	}
	n := max(len(owners), 1)
	return max(1, (room+n-1)/n)
}

func (f *FairShare) compare(a, b Candidate) int {
	if a.Owner != b.Owner {
		return cmp.Or(cmp.Compare(f.owners[a.Owner], f.owners[b.Owner]), cmp.Compare(a.Owner, b.Owner))
	}
	return cmp.Or(
		cmp.Compare(b.Priority, a.Priority),
		cmp.Compare(f.batches[a.Batch], f.batches[b.Batch]),
		cmp.Compare(a.Batch, b.Batch)) // IDs start with their time
}

func joined(known map[string]float64, all []Candidate, of func(Candidate) string) map[string]float64 {
	start, any := 0.0, false
	for _, c := range all {
		if served, ok := known[of(c)]; ok && (!any || served < start) {
			start, any = served, true
		}
	}
	out := make(map[string]float64, len(known))
	for _, c := range all {
		served, ok := known[of(c)]
		if !ok {
			served = start
		}
		out[of(c)] = served
	}
	return out
}
