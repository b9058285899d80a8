package earlier

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// answersOf makes one answer per letter, at the letter's index. A space is a gap. A lower-case letter is a job that
// runs again.
func answersOf(text string) (out []answer) {
	for i, c := range text {
		if c == ' ' {
			continue
		}
		again := c >= 'a'
		if again {
			c += 'A' - 'a'
		}
		out = append(out, answer{key: key{byte(c)}, index: int64(i), kind: questionKey, rerun: again, lost: again})
	}
	return out
}

func keysOf(text string) *jobKeys {
	j := &jobKeys{}
	for _, c := range text {
		j.questions = append(j.questions, key{byte(c)})
	}
	return j
}

func TestPair(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file, jobs string
		to         []int64
		want       pairing
	}{
		"the same":            {"ABC", "ABC", []int64{0, 1, 2}, pairing{kept: 3}},
		"reversed":            {"AB", "DCBA", []int64{3, 2}, pairing{kept: 2, moved: 2, fresh: 2}},
		"a row on top":        {"ABC", "NABC", []int64{1, 2, 3}, pairing{kept: 3, moved: 3, fresh: 1}},
		"a row removed":       {"ABCD", "ACD", []int64{0, -1, 1, 2}, pairing{kept: 3, moved: 2, gone: 1, stale: 1}},
		"rows at the end cut": {"ABCD", "AB", []int64{0, 1, -1, -1}, pairing{kept: 2, gone: 2, stale: 2}},
		"a row edited":        {"ABCD", "AXCD", []int64{0, -1, 2, 3}, pairing{kept: 3, changed: 1, stale: 1}},
		"edited and moved":    {"ABC", "NAXC", []int64{1, -1, 3}, pairing{kept: 2, moved: 2, changed: 1, stale: 1, fresh: 1}},
		"first one edited":    {"ABC", "NXBC", []int64{-1, 2, 3}, pairing{kept: 2, moved: 2, changed: 1, stale: 1, fresh: 1}},
		"interrupted":         {"A C", "ABCD", []int64{0, 2}, pairing{kept: 2, fresh: 2}},
		"equal rows":          {"AA", "AA", []int64{0, 1}, pairing{kept: 2}},
		"one more equal row":  {"A", "AAA", []int64{0}, pairing{kept: 1, fresh: 2}},
		"one equal row less":  {"AAB", "AB", []int64{0, -1, 1}, pairing{kept: 2, moved: 1, gone: 1, stale: 1}},
		"equal rows moved":    {"AAB", "BAA", []int64{2, 1, 0}, pairing{kept: 3, moved: 2}},
		"failures run again":  {"Ab", "BA", []int64{1, 0}, pairing{kept: 1, moved: 1, rerun: 1}},
		"failure of another":  {"a", "B", []int64{-1}, pairing{changed: 1, stale: 1}},
		"nothing matches":     {"AB", "XY", []int64{-1, -1}, pairing{changed: 2, stale: 2}},
		"nothing in the file": {"", "AB", []int64{}, pairing{fresh: 2}},
	} {
		got := pair(answersOf(c.file), keysOf(c.jobs))
		c.want.to = c.to
		got.taken = nil // the jobs in to
		assert.Equal(t, &c.want, got, name)
	}
}

// Failures of earlier versions have no key. They run again and do not count as stale.
func TestPairWithoutKeys(t *testing.T) {
	t.Parallel()
	got := pair([]answer{{index: 0, lost: true}, {index: 1}, {key: key{'F'}, index: 2, kind: fingerprintKey}}, &jobKeys{
		questions: []key{{'A'}, {'B'}, {'C'}}, fingerprints: []key{{'F'}, {'G'}, {'H'}},
	})
	got.taken = nil // the jobs in to
	assert.Equal(t, &pairing{to: []int64{-1, -1, 0}, kept: 1, moved: 1, changed: 1, stale: 1, unknown: 1, rerun: 0, gone: 1, fresh: 1}, got)
}

func TestPairAssignsEachResultToOneMatchingJob(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		file := answersOf(rapid.StringMatching(`[A-Ea-e ]{0,12}`).Draw(t, "file"))
		jobs := keysOf(rapid.StringMatching(`[A-E]{0,12}`).Draw(t, "jobs"))
		p := pair(file, jobs)
		used := map[int64]bool{}
		free := map[key]int{}
		for _, k := range jobs.questions {
			free[k]++
		}
		for i, to := range p.to {
			if to < 0 {
				continue
			}
			assert.Equal(t, file[i].key, jobs.questions[to])
			assert.False(t, used[to], "job %d has two results", to)
			used[to] = true
			free[file[i].key]--
		}
		for i, to := range p.to {
			if to < 0 {
				assert.Zero(t, free[file[i].key], "a job with the same question has no result")
			}
		}
		assert.EqualValues(t, len(jobs.questions), p.kept+p.rerun+p.changed+p.fresh)
		assert.EqualValues(t, len(file), p.kept+p.rerun+p.changed+p.gone)
		assert.GreaterOrEqual(t, p.fresh, int64(0))
	})
}
