package prefixorder

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

var ctx = context.Background()

func ended() context.Context {
	ctx, end := context.WithCancel(ctx)
	end()
	return ctx
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text returns n bytes that depend on the name alone.
func text(name string, n int) string {
	r := rand.New(rand.NewPCG(uint64(len(name)), hashOf(name)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

func hashOf(name string) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range []byte(name) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// sorted returns the indexes of the prompts in order, and whether that order gains.
func sorted(t require.TestingT, l limits, prompts []string) (order []int64, gains bool) {
	s := newSorter(l)
	defer func() { require.NoError(t, s.Close()) }()
	for i, p := range prompts {
		require.NoError(t, s.Add(int64(i), p, fmt.Appendf(nil, "payload %d", i)))
	}
	require.NoError(t, s.Finish())
	gains, err := s.Gains(ctx)
	require.NoError(t, err)
	for range 2 { // jobs can be read again
		order = nil
		for job, err := range s.Jobs(ctx) {
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("payload %d", job.Index), string(job.Payload))
			order = append(order, job.Index)
		}
	}
	return order, gains
}

var inMemory = limits{run: runBytes, disk: maxBytes}

func TestSortKeepsTheFirstAppearanceOfGroups(t *testing.T) {
	t.Parallel()
	a, b, c := text("a", 2000), text("b", 2000), text("c", 2000)
	prompts := []string{b + "1", a + "1", "short", c, b + "2", text("alone", 900), a + "2", "short", b + "1"}
	order, gains := sorted(t, inMemory, prompts)
	assert.Equal(t, []int64{0, 4, 8, 1, 6, 2, 3, 5, 7}, order)
	assert.True(t, gains)
}

func TestSortJoinsNestedPrefixes(t *testing.T) {
	t.Parallel()
	var prompts, names []string
	for i := range 60 {
		collection, document, section := i%3, i%15/3, i%30/15
		name := fmt.Sprintf("%d/%d/%d", collection, document, section)
		names = append(names, name)
		prompts = append(prompts, text(fmt.Sprint(collection), 1500)+text(name[:3], 1000)+text(name, 800)+fmt.Sprint("question ", i))
	}
	order, gains := sorted(t, inMemory, prompts)
	require.True(t, gains)
	for _, level := range []int{1, 3, 5} {
		var runs []string
		for _, index := range order {
			if name := names[index][:level]; len(runs) == 0 || runs[len(runs)-1] != name {
				runs = append(runs, name)
			}
		}
		slices.Sort(runs)
		assert.Len(t, slices.Compact(slices.Clone(runs)), len(runs), "level %d: a group is split", level)
	}
}

// TestSortProperties draws prompts of groups: the order is a permutation, no group is split, equal prompts keep their order, and a spool
// changes nothing.
func TestSortProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 200).Draw(t, "jobs")
		groups := rapid.IntRange(1, 20).Draw(t, "groups")
		var prompts []string
		var of []int
		for range n {
			g := rapid.IntRange(0, groups-1).Draw(t, "group")
			of = append(of, g)
			tail := strings.Repeat(fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "tail")), rapid.IntRange(0, 200).Draw(t, "length"))
			prompts = append(prompts, text(fmt.Sprint(g), MinShared+g*50)+tail)
		}
		order, gains := sorted(t, inMemory, prompts)
		small, gainsToo := sorted(t, limits{run: int64(rapid.IntRange(1, 20_000).Draw(t, "run")), disk: maxBytes}, prompts)
		require.Equal(t, order, small)
		require.Equal(t, gains, gainsToo)
		require.Len(t, order, n)
		last := map[string]int64{}
		done := map[int]bool{}
		first := int64(-1)
		for at, index := range order {
			if at > 0 && of[order[at-1]] != of[index] {
				done[of[order[at-1]]] = true
			}
			if at == 0 || of[order[at-1]] != of[index] {
				begin := int64(slices.Index(of, of[index]))
				require.Greater(t, begin, first, "groups come in the order of their first jobs")
				first = begin
			}
			require.False(t, done[of[index]], "group %d is split", of[index])
			if before, ok := last[prompts[index]]; ok {
				require.Less(t, before, index, "equal prompts keep their order")
			}
			last[prompts[index]] = index
		}
		slices.Sort(order)
		for i, index := range order {
			require.EqualValues(t, i, index, "each job once")
		}
	})
}

func TestUniqueAndShortPromptsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	for name, prompt := range map[string]func(i int) string{
		"unique":                func(i int) string { return text(fmt.Sprint(i), 3000) },
		"short":                 func(i int) string { return text(fmt.Sprint(i%3), 300) },
		"a short common prefix": func(i int) string { return text("all", 500) + text(fmt.Sprint(i), 3000) },
		"a prefix that is a small part": func(i int) string {
			return text(fmt.Sprint(i%2), 600) + text(fmt.Sprint("rest", i), 9000)
		},
		"empty": func(int) string { return "" },
	} {
		var prompts []string
		for i := range 50 {
			prompts = append(prompts, prompt(i))
		}
		_, gains := sorted(t, inMemory, prompts)
		assert.False(t, gains, name)
		assert.False(t, MayGain(prompts, 50), name)
	}
}

// TestGroupedInputsGain checks that inputs that are grouped already are sorted too, because only sorted jobs have groups.
func TestGroupedInputsGain(t *testing.T) {
	t.Parallel()
	var prompts []string
	for i := range 80 {
		prompts = append(prompts, text(fmt.Sprint(i/8), 3000)+fmt.Sprint(i))
	}
	order, gains := sorted(t, inMemory, prompts)
	assert.True(t, gains)
	for at, index := range order {
		assert.EqualValues(t, at/8, index/8, "the groups keep their order")
	}
	shuffle(prompts)
	_, gains = sorted(t, inMemory, prompts)
	assert.True(t, gains)
}

// rests returns the rest of each job in the order of the sort.
func rests(t require.TestingT, prompts []string, payload int) (out []int64) {
	s := New()
	defer func() { require.NoError(t, s.Close()) }()
	for i, p := range prompts {
		require.NoError(t, s.Add(int64(i), p, make([]byte, payload)))
	}
	require.NoError(t, s.Finish())
	for job, err := range s.Jobs(ctx) {
		require.NoError(t, err)
		out = append(out, job.Rest)
	}
	return out
}

func TestRestCountsTheJobsOfAGroup(t *testing.T) {
	t.Parallel()
	a, b := text("a", 2000), text("b", 2000)
	assert.Equal(t, []int64{2, 1, 0, 0, 0, 1, 0}, rests(t, []string{a + "1", a + "2", a + "3", "short", text("c", 900), b + "1", b + "2"}, 10))
	assert.Empty(t, rests(t, nil, 0))
}

func TestRestIsBounded(t *testing.T) {
	t.Parallel()
	var prompts []string
	for i := range 600 {
		prompts = append(prompts, text("a", 2000)+fmt.Sprint(i))
	}
	for at, rest := range rests(t, prompts, 1) {
		require.EqualValues(t, min(maxRest, 599-at), rest)
	}
	const payload = maxRestBytes / 10
	for at, rest := range rests(t, prompts[:50], payload) {
		require.EqualValues(t, min(10, 49-at), rest, "the payloads of the rest are limited, too")
	}
	for at, rest := range rests(t, prompts[:3], 2*maxRestBytes) {
		require.Zero(t, rest, "job %d", at)
	}
}

func shuffle(prompts []string) {
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(prompts), func(i, j int) { prompts[i], prompts[j] = prompts[j], prompts[i] })
}

// TestMayGainJudgesASample draws samples of large batches, of which few groups have two members in the sample.
func TestMayGainJudgesASample(t *testing.T) {
	t.Parallel()
	const total, kept = 400_000, 4000
	for _, c := range []struct {
		size int // of a group
		want bool
	}{{1, false}, {2, true}, {8, true}, {1000, true}, {total, true}} {
		r := rand.New(rand.NewPCG(uint64(c.size), 7))
		var sample []string
		for range kept {
			i := r.IntN(total)
			tail := fmt.Sprint(" question ", i)
			if c.size == 1 {
				i, tail = len(sample), ""
			}
			sample = append(sample, fmt.Sprintf("%-600d", i/c.size)+tail)
		}
		for i := range sample { // so that neighbours in value differ at once
			sample[i] = text(sample[i][:600], 20) + sample[i]
		}
		assert.Equal(t, c.want, MayGain(sample, total), "groups of %d", c.size)
	}
	assert.False(t, MayGain(nil, 0))
	assert.False(t, MayGain([]string{"a"}, 1))
}

func TestRankingIsBounded(t *testing.T) {
	t.Parallel()
	r := newRanking()
	r.most = 2
	key := func(name string) []byte { return hashes(text(name, MinShared)) }
	assert.EqualValues(t, 0, r.of(0, key("a")))
	assert.EqualValues(t, 1, r.of(1, key("b")))
	last := r.of(2, key("c"))
	assert.Greater(t, last, uint64(1)<<40)
	assert.Equal(t, last, r.of(3, key("c")), "a beginning that came too late keeps its rank")
	assert.EqualValues(t, 0, r.of(4, key("a")))
	assert.EqualValues(t, 5, r.of(5, nil), "a short prompt keeps its place")
	assert.Len(t, r.places, 2)
}

func TestSpoolLosesItsNameAtOnce(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := newSorter(limits{run: 1, disk: maxBytes, folder: folder})
	for i := range 3 {
		require.NoError(t, s.Add(int64(i), text("a", 1000), []byte("p")))
	}
	require.NotNil(t, s.spool)
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Empty(t, left, "a killed process leaves nothing")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "a second time")
}

func TestSpoolIsBounded(t *testing.T) {
	t.Parallel()
	s := newSorter(limits{run: 1, disk: 100, folder: t.TempDir()})
	defer s.Close()
	require.NoError(t, s.Add(0, "", make([]byte, 50)))
	require.ErrorIs(t, s.Add(1, "", make([]byte, 50)), ErrTooLarge)

	s = newSorter(limits{run: 1, disk: 100, folder: "/does/not/exist"})
	require.ErrorIs(t, s.Add(0, "", nil), ErrSpace)
	require.NoError(t, s.Close())
}

// TestMemoryDoesNotGrow sorts 200,000 jobs of 400 MB, and looks at the heap meanwhile.
func TestMemoryDoesNotGrow(t *testing.T) {
	const jobs, most = 200_000, 120 << 20
	s := New()
	defer s.Close()
	var memory runtime.MemStats
	look := func(at int64) {
		if at%20_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&memory)
			require.Less(t, memory.HeapAlloc, uint64(most), "after %d jobs", at)
		}
	}
	documents := make([]string, 100)
	for i := range documents {
		documents[i] = text(fmt.Sprint(i), 1900)
	}
	for i := range int64(jobs) {
		prompt := fmt.Sprint(i*7919%25_000) + documents[i%100]
		require.NoError(t, s.Add(i, prompt, []byte(prompt)))
		look(i)
	}
	require.NoError(t, s.Finish())
	require.Greater(t, len(s.runs), 5, "the test needs several runs")
	gains, err := s.Gains(ctx)
	require.NoError(t, err)
	assert.True(t, gains)
	seen := make([]bool, jobs)
	at := int64(0)
	for job, err := range s.Jobs(ctx) {
		require.NoError(t, err)
		require.False(t, seen[job.Index])
		seen[job.Index] = true
		at++
		look(at)
	}
	assert.EqualValues(t, jobs, at)
}

func TestSortEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, l := range []limits{inMemory, {run: 1, disk: maxBytes}} {
		s := newSorter(l)
		defer s.Close()
		for i := range 3 {
			require.NoError(t, s.Add(int64(i), text("a", 1000), nil))
		}
		require.NoError(t, s.Finish())
		_, err := s.Gains(ended())
		require.Error(t, err)
		var errs []error
		for _, err := range s.Jobs(ended()) {
			errs = append(errs, err)
		}
		require.Len(t, errs, 1)
		require.ErrorIs(t, errs[0], context.Canceled)
	}
}
