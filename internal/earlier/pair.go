package earlier

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/batchagent/batchagent/internal/collect"
)

// answer is one result of a results file, reduced to the fields that assign it to a job.
type answer struct {
	key   key
	index int64 // in the file
	kind  keyKind
	maker uint8 // position in makers
	rerun bool  // the job runs again, because its error may pass, or because the user asked for it
	lost  bool  // without output

	changedToo bool  // the job also runs again if its question is not asked
	asked      key   // the question that the result answers; set if the user asked to rerun changed jobs
	version    uint8 // position in versions
}

// key is the hash of a question, or a fingerprint.
type key [16]byte

// keyKind is the source of a key.
type keyKind uint8

const (
	noKey          keyKind = iota // the result does not identify its question
	questionKey                   // the question of the job, independent of the model; or its row
	fingerprintKey                // the fingerprint, which includes the model: in files of earlier versions
)

// jobKeys holds the keys of all jobs of a run by index. It uses 16 bytes per job, or 32 for a file of an earlier
// version.
type jobKeys struct {
	questions    []key
	fingerprints []key                  // nil if no result needs them
	runs         func(index int64) bool // reports whether a job may run; nil is all jobs
	asked        []key                  // questions, if questions holds the rows instead; nil if they do not matter
}

func (j *jobKeys) of(k keyKind) []key {
	switch k {
	case questionKey:
		return j.questions
	case fingerprintKey:
		return j.fingerprints
	}
	return nil
}

// pairing assigns the results of a file to jobs.
type pairing struct {
	to []int64 // by position of the answer: the index of its job, or -1

	taken collect.Bitmap // jobs with a result, or with a result that they had before they changed

	kept    int64 // results that jobs keep
	moved   int64 // of those, results that moved to another index
	rerun   int64 // jobs that run again although their question is the same
	changed int64 // jobs that run again because their question changed
	fresh   int64 // jobs without a result
	gone    int64 // results without a job now
	stale   int64 // results that match no job's question
	unknown int64 // failures that do not identify their question
}

// pair assigns to each job a result that answers its question (I10). A result keeps its index if possible. Each result
// goes to one job, and equal jobs take results in index order. answers must be sorted by index, and indexes are unique.
//
// pair uses about 50 bytes of memory per answer.
func pair(answers []answer, jobs *jobKeys) *pairing {
	p := &pairing{to: make([]int64, len(answers))}
	var taken collect.Bitmap
	for i, a := range answers {
		p.to[i] = -1
		if keys := jobs.of(a.kind); a.index < int64(len(keys)) && keys[a.index] == a.key {
			p.to[i] = a.index
			taken.Set(a.index)
		}
	}
	for _, kind := range []keyKind{questionKey, fingerprintKey} {
		p.move(answers, kind, jobs.of(kind), &taken)
	}
	for i, to := range p.to {
		a := &answers[i]
		switch {
		case to < 0:
		case jobs.runs != nil && !jobs.runs(to):
			a.rerun = false
		case a.changedToo && jobs.asked != nil && jobs.asked[to] != a.asked:
			a.rerun = true
		}
	}
	p.count(answers, taken, int64(len(jobs.questions)))
	return p
}

// move pairs answers with jobs of other indexes, in index order.
func (p *pairing) move(answers []answer, kind keyKind, keys []key, taken *collect.Bitmap) {
	var free []int // positions of answers
	for i, a := range answers {
		if a.kind == kind && p.to[i] < 0 {
			free = append(free, i)
		}
	}
	if len(free) == 0 {
		return
	}
	var open []int64 // jobs
	for i := range keys {
		if !taken.Has(int64(i)) {
			open = append(open, int64(i))
		}
	}
	slices.SortStableFunc(free, func(a, b int) int { return answers[a].key.compare(answers[b].key) })
	slices.SortStableFunc(open, func(a, b int64) int { return keys[a].compare(keys[b]) })
	for f, o := 0, 0; f < len(free) && o < len(open); {
		switch c := answers[free[f]].key.compare(keys[open[o]]); {
		case c < 0:
			f++
		case c > 0:
			o++
		default:
			p.to[free[f]] = open[o]
			taken.Set(open[o])
			f++
			o++
		}
	}
}

func (k key) compare(o key) int { return bytes.Compare(k[:], o[:]) }

// count counts the outcomes of answers and jobs. An answer without a job is attributed to a free job at the position to
// which its neighbours moved.
func (p *pairing) count(answers []answer, taken collect.Bitmap, jobs int64) {
	var after []int64 // by position: the shift of the next paired answer; computed when first needed
	shift := int64(0)
	for i, a := range answers {
		if to := p.to[i]; to >= 0 {
			shift = to - a.index
			switch {
			case a.rerun:
				p.rerun++
			case to != a.index:
				p.moved++
				p.kept++
			default:
				p.kept++
			}
			continue
		}
		if after == nil {
			after = p.shifts(answers)
		}
		unknown := a.kind == noKey && a.lost
		place, found := firstOpen(taken, jobs, a.index+shift, a.index+after[i], a.index)
		if found {
			taken.Set(place)
		}
		switch {
		case unknown:
			p.unknown++
		default:
			p.stale++
		}
		switch {
		case !found:
			p.gone++
		case unknown:
			p.rerun++
		default:
			p.changed++
		}
	}
	p.taken = taken
	p.fresh = jobs - p.kept - p.rerun - p.changed
}

// shifts returns for each answer the shift of the next paired answer.
func (p *pairing) shifts(answers []answer) []int64 {
	out, shift := make([]int64, len(answers)), int64(0)
	for i, a := range slices.Backward(answers) {
		if p.to[i] >= 0 {
			shift = p.to[i] - a.index
		}
		out[i] = shift
	}
	return out
}

// firstOpen returns the first of places that is a job without a result.
func firstOpen(taken collect.Bitmap, jobs int64, places ...int64) (int64, bool) {
	for _, at := range places {
		if at >= 0 && at < jobs && !taken.Has(at) {
			return at, true
		}
	}
	return 0, false
}

// rewrites reports whether the file must be rewritten before results are added.
func (p *pairing) rewrites(answers []answer) bool {
	for i, a := range answers {
		if p.to[i] != a.index {
			return true
		}
	}
	return false
}

// newIndex returns the new index of a result, by its index in the file, or -1 if no job keeps it.
func (p *pairing) newIndex(answers []answer, index int64) int64 {
	i, found := slices.BinarySearchFunc(answers, index, func(a answer, index int64) int { return cmp.Compare(a.index, index) })
	if !found {
		return -1
	}
	return p.to[i]
}
