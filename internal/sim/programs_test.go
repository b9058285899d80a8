package sim

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// programSeeds sets the number of seeds of TestPrograms. The mutants of Go code use it.
const programSeeds = "BATCHAGENT_SIM_PROGRAM_SEEDS"

// TestPrograms plays fixed seeds in which a program is the agent.
func TestPrograms(t *testing.T) {
	count := 6
	if s := os.Getenv(programSeeds); s != "" {
		var err error
		count, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	for seed := range uint64(count) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			cfg := Draw(seed, Full)
			cfg.programs = true
			twice(t, cfg)
		})
	}
}

// TestGoMutants compiles each mutant of Go code, and runs TestPrograms with it. It takes minutes, so only `make mutants` runs it.
func TestGoMutants(t *testing.T) {
	if os.Getenv("BATCHAGENT_SIM_MUTANTS") == "" {
		t.Skip("make mutants runs it")
	}
	for _, m := range GoMutants {
		t.Run(m.Name, func(t *testing.T) {
			run := exec.CommandContext(t.Context(), m.compile(t), "-test.run", "^TestPrograms$", "-test.failfast", "-test.timeout", "10m")
			run.Env = append(os.Environ(), programSeeds+"="+strconv.Itoa(m.Seeds))
			out, err := run.CombinedOutput()
			if err == nil {
				t.Fatalf("survived %d seeds", m.Seeds)
			}
			t.Log(caught(string(out)))
		})
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

// caught returns the line of a run's output that names the violation.
func caught(out string) string {
	var seed string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "--- FAIL: TestPrograms/"); ok {
			seed, _, _ = strings.Cut(name, " ")
		}
		_, message, _ := strings.Cut(line, ": ")
		for _, kind := range []string{"I1: ", "I2: ", "I3: ", "I4: ", "I5: ", "I7: ", "I8: ", "I10: ", "I12: ", "worker: ", "store: ", "two runs"} {
			if strings.HasPrefix(message, kind) {
				return "caught by seed " + seed + ": " + message
			}
		}
	}
	return "caught: " + out[max(0, len(out)-2000):]
}
