package scheduler

import "cmp"

// Candidate is a batch that jobs could be claimed from.
type Candidate struct {
	Batch    string
	Owner    string
	Priority int // higher first, among the batches of one owner
}

// FairShare decides which batch the next jobs come from. Owners get equal shares of the jobs, whatever the number and
// size of their batches: whoever was served least is next (start-time fair queueing, Goyal, Vin and Cheng, 1996, with
// jobs as the unit). Within an owner a higher priority goes first; batches of equal priority share too.
//
// Who comes late begins where the least served of the others stands: he neither waits for them nor makes up for the time
// before he came. Not safe for concurrent use.
type FairShare struct {
	owners  map[string]float64 // jobs, plus where the owner began
	batches map[string]float64
}

// NewFairShare knows nobody yet.
func NewFairShare() *FairShare {
	return &FairShare{owners: map[string]float64{}, batches: map[string]float64{}}
}

// Meet says who is there: all batches that have or may get jobs. Newcomers begin, and whoever is gone is forgotten, so
// that what is kept is bounded by the candidates.
func (f *FairShare) Meet(all []Candidate) {
	f.owners = joined(f.owners, all, func(c Candidate) string { return c.Owner })
	f.batches = joined(f.batches, all, func(c Candidate) string { return c.Batch })
}

// Next is the index of the candidate that is served next; -1 if there is none. The candidates are among those of the
// last Meet.
func (f *FairShare) Next(all []Candidate) int {
	best := -1
	for i, c := range all {
		if best < 0 || f.compare(c, all[best]) < 0 {
			best = i
		}
	}
	return best
}

// Served notes that jobs of a batch were claimed.
func (f *FairShare) Served(c Candidate, jobs int) {
	f.owners[c.Owner] += float64(jobs)
	f.batches[c.Batch] += float64(jobs)
}

// Quantum is how many of room jobs to ask for at once, so that no owner among the candidates goes empty.
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
		cmp.Compare(a.Batch, b.Batch)) // IDs begin with their time
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
