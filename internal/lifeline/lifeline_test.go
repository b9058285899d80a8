package lifeline

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if os.Getenv("LIFELINE_CHILD") != "" {
		Hold(os.Getenv)
		_, _ = os.Stdout.WriteString("up")
		select {}
	}
	os.Exit(m.Run())
}

func TestHoldEndsWithStandardInput(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = []string{"LIFELINE_CHILD=1", Variable + "=stdin"}
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = stdout.Read(make([]byte, 2))
	require.NoError(t, err)
	require.NoError(t, stdin.Close())
	require.Error(t, cmd.Wait())
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	assert.Equal(t, syscall.SIGTERM, status.Signal())
}

func TestHoldIgnoresOtherPrograms(t *testing.T) {
	t.Parallel()
	Hold(func(string) string { return "" }) // would end this process: its standard input is empty
}
