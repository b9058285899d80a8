package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/terminal"
)

// fullDisk fails every write with ENOSPC.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestRunReportsFullDisk(t *testing.T) {
	spec := filepath.Join(t.TempDir(), "batch.yaml")
	require.NoError(t, os.WriteFile(spec, []byte("name: three\ntask: Say {x}.\ninputs: [{x: a}, {x: b}, {x: c}]\n"), 0o600))
	var errs bytes.Buffer
	status := run(t.Context(), []string{"coordinator", "run", spec},
		streams{strings.NewReader(""), fullDisk{}, &errs, func(string) string { return "" }})
	require.Equal(t, terminal.ExitBrokenOff, status)
	require.Contains(t, errs.String(), "no space left on device")
}
