package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mutantSeeds is set in a run of [TestOneGoMutant]: the first seed and the number of seeds.
const mutantSeeds = "BATCHAGENT_SIM_MUTANT_SEEDS"

func withPrograms(seed uint64) Config {
	cfg := Draw(seed, Full)
	cfg.programs = true
	return cfg
}

// TestPrograms plays fixed seeds in which a program is the agent. In seed 7 a second conversation tried without a pause to call a server
// that was away.
func TestPrograms(t *testing.T) {
	for _, seed := range []uint64{1, 7} {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			twice(t, withPrograms(seed))
		})
	}
}

// TestGoMutants compiles each mutant of Go code and runs TestOneGoMutant with it. It takes minutes, so only `make mutants` runs it.
func TestGoMutants(t *testing.T) {
	if os.Getenv("BATCHAGENT_SIM_MUTANTS") == "" {
		t.Skip("make mutants runs it")
	}
	for _, m := range GoMutants {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			run := exec.CommandContext(t.Context(), m.compile(t), "-test.run", "^TestOneGoMutant$", "-test.timeout", "10m")
			run.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", mutantSeeds, m.From, m.Seeds))
			text, err := run.CombinedOutput()
			out := string(text)
			if err == nil {
				t.Fatalf("survived %d seeds", m.Seeds)
			}
			if at := strings.Index(out, "caught by seed"); at >= 0 {
				out, _, _ = strings.Cut(out[at:], "\n")
			}
			t.Log(out[:min(len(out), 2000)])
		})
	}
}

// TestOneGoMutant plays seeds until one has a violation. It fails then: TestGoMutants runs it in a process of its own.
func TestOneGoMutant(t *testing.T) {
	text := os.Getenv(mutantSeeds)
	if text == "" {
		t.Skip("TestGoMutants runs it")
	}
	var from, count uint64
	_, err := fmt.Sscan(text, &from, &count)
	require.NoError(t, err)
	for seed := from; seed < from+count; seed++ {
		if out := play(t, withPrograms(seed)); out.Violation != nil {
			t.Fatalf("caught by seed %d: %v", seed, out.Violation)
		}
	}
}

// compile returns the path of the simulation's tests with the mutant.
func (m GoMutant) compile(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	file, dir := filepath.Join(root, m.File), t.TempDir()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), m.Old), "%s must contain the mutant's Old text exactly once; fix the mutant", m.File)
	changed, overlay, binary := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "sim.test")
	require.NoError(t, os.WriteFile(changed, []byte(strings.Replace(string(text), m.Old, m.New, 1)), 0o600))
	replaced, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, replaced, 0o600))
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}
