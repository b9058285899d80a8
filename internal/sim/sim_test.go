package sim

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSeeds runs a fixed range of seeds, all seeds that once found a defect, and one random seed. Each seed runs twice: without
// violations, and with identical traces.
//
// BATCHAGENT_SIM_SEED sets the first seed and BATCHAGENT_SIM_COUNT the number of seeds; `make sim` sets both.
func TestSeeds(t *testing.T) {
	for _, mode := range Modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			for _, seed := range seeds(t, mode) {
				t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
					t.Parallel()
					twice(t, Draw(seed, mode))
				})
			}
		})
	}
}

// twice runs a configuration two times and compares the traces.
func twice(t *testing.T, cfg Config) {
	first := play(t, cfg)
	if first.Violation != nil {
		t.Fatal(first.Report(80))
	}
	if err := first.Linearize(); err != nil {
		t.Fatalf("%v\n%v", cfg, err)
	}
	second := play(t, cfg)
	if second.Violation != nil {
		t.Fatal(second.Report(80))
	}
	if first.Hash != second.Hash {
		t.Errorf("two runs of one seed differ\n%v\n%s", cfg, difference(first.Trace, second.Trace))
	}
}

// difference shows the first difference between two traces.
func difference(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("%s\nfirst run:  %s\nsecond run: %s", strings.Join(a[max(0, i-25):i], "\n"), a[i], b[i])
		}
	}
	return fmt.Sprintf("one trace has %d lines, the other %d", len(a), len(b))
}

// TestForgettingCostsNoAttempt checks that a Redis that loses writes costs no attempt. Without other faults, jobs with a single
// attempt still get their results.
func TestForgettingCostsNoAttempt(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			cfg := Draw(seed, Full)
			cfg.faults, cfg.rates, cfg.serverFaults, cfg.toolFaults, cfg.maxAttempts = nil, rates{}, 0, 0, 1
			// Each worker is busy for longer than a lease, so it does not notice the loss by claiming more jobs.
			cfg.maxAgents, cfg.jobs, cfg.turnTime, cfg.turnPatience = 1, 24, 3*cfg.lease, 4*cfg.lease
			cfg.calmAt, cfg.retries = 15*cfg.lease, 0
			for r := chance(seed).on("amnesia alone"); len(cfg.faults) < 6; {
				cfg.forget(drawAmnesia(r, cfg))
			}
			for i := range cfg.faults {
				cfg.faults[i].last = 100 * time.Millisecond
			}
			cfg.endBy = cfg.calmAt + cfg.longest()
			out := play(t, cfg)
			if out.Violation != nil {
				t.Fatal(out.Report(80))
			}
			assert.Zero(t, out.Lost)
		})
	}
}

// TestMutants runs each mutant until a seed catches it, at most its number of seeds. It takes minutes, so only `make mutants` runs it.
func TestMutants(t *testing.T) {
	if os.Getenv("BATCHAGENT_SIM_MUTANTS") == "" {
		t.Skip("make mutants runs it")
	}
	for _, m := range Mutants {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			for i := range m.Seeds {
				seed := uint64((m.First + i) % m.Seeds)
				cfg := Draw(seed, Plain)
				if m.Programs {
					cfg = Draw(seed, Full)
					cfg.programs = true
				}
				cfg.Mutant = &m
				if m.Stalls {
					cfg.rates.slow, cfg.rates.slowest = 0.3, 4*cfg.lease
				}
				for r := chance(seed).on("amnesia of a mutant"); (m.Forgets || m.Blind) && !cfg.forgets(); {
					cfg.forget(drawAmnesia(r, cfg))
				}
				if m.Reduces {
					cfg.reduced(chance(seed).on("reduction of a mutant"))
					cfg.failing, cfg.retries = 0.4, 2
				}
				if m.Limited {
					if cfg.reduce || cfg.forgets() {
						continue // the checks of a budget do not cover these runs
					}
					cfg.limited(chance(seed).on("budget of a mutant"))
					cfg.handBack = 0.1
				}
				cfg.binds, cfg.grouped = m.Binds, m.Grouped
				if m.Clocks {
					cfg.skew = 0
				}
				out := play(t, cfg)
				if out.Violation != nil {
					t.Logf("caught by seed %d: %v", seed, out.Violation)
					return
				}
				if err := out.Linearize(); err != nil {
					first, _, _ := strings.Cut(err.Error(), "\n")
					t.Logf("caught by seed %d: %s", seed, first)
					return
				}
			}
			t.Errorf("survived %d seeds", m.Seeds)
		})
	}
}

// TestBinding plays fixed seeds with workers that bind the batch to different models.
func TestBinding(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			cfg := Draw(seed, Plain)
			cfg.binds = true
			if out := play(t, cfg); out.Violation != nil {
				t.Fatal(out.Report(80))
			}
		})
	}
}

// TestJudges runs refusals with broken judges. Each must be caught within 160 seeds; it starts near those that catch them.
func TestJudges(t *testing.T) {
	for name, judge := range Judges {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range uint64(160) {
				seed := (105 + i) % 160
				cfg := Draw(seed, Full)
				if cfg.refusals == nil {
					continue
				}
				cfg.judge = judge
				if out := play(t, cfg); out.Violation != nil {
					t.Logf("caught by seed %d: %v", seed, out.Violation)
					return
				}
			}
			t.Error("survived")
		})
	}
}

// TestMutantMustMatch checks that Run refuses a mutant that matches no script. Such a mutant would survive untested.
func TestMutantMustMatch(t *testing.T) {
	cfg := Draw(1, Plain)
	cfg.Mutant = &Mutant{Name: "outdated", Script: "claim", Old: "no such text", New: ""}
	synctest.Test(t, func(t *testing.T) {
		_, err := Run(t.Context(), cfg)
		assert.ErrorContains(t, err, "mutant outdated")
	})
}

func play(t *testing.T, cfg Config) Outcome {
	t.Helper()
	var out Outcome
	var err error
	synctest.Test(t, func(t *testing.T) { out, err = Run(t.Context(), cfg) })
	require.NoError(t, err)
	return out
}

// fixed is the number of seeds per mode in a plain `go test`.
var fixed = map[Mode]int{Plain: 12, Full: 3}

func seeds(t *testing.T, mode Mode) []uint64 {
	count := fixed[mode]
	if testing.Short() {
		count = 2
	}
	if s := os.Getenv("BATCHAGENT_SIM_COUNT"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err, "BATCHAGENT_SIM_COUNT")
		count = n
		if mode == Full { // slower
			count = (n + 1) / 2
		}
	}
	first, chosen := uint64(0), os.Getenv("BATCHAGENT_SIM_SEED")
	if chosen != "" {
		n, err := strconv.ParseUint(chosen, 10, 64)
		require.NoError(t, err, "BATCHAGENT_SIM_SEED")
		first = n
	}
	var out []uint64
	for i := range uint64(count) {
		out = append(out, first+i)
	}
	if chosen == "" {
		fresh := rand.Uint64N(1 << 40)
		t.Logf("fresh seed: %d", fresh)
		out = append(out, fresh)
		out = append(out, kept(t, mode)...)
	}
	return out
}

// kept returns the seeds in testdata/seeds, which has one per line: mode, seed, and the defect that it found.
func kept(t *testing.T, mode Mode) []uint64 {
	f, err := os.Open(filepath.Join("testdata", "seeds"))
	require.NoError(t, err)
	defer f.Close()
	var out []uint64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) < 2 || w[0] != string(mode) {
			continue
		}
		n, err := strconv.ParseUint(w[1], 10, 64)
		require.NoError(t, err)
		out = append(out, n)
	}
	return out
}
