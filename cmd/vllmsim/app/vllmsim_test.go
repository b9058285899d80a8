package app

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServesUntilStopped(t *testing.T) {
	t.Setenv("BATCHAGENT_MODEL", "from-env")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read, write := io.Pipe()
	status := make(chan int, 1)
	go func() {
		status <- run(ctx, []string{"vllmsim", "--listen", "127.0.0.1:0"}, io.Discard, write)
		_ = write.Close()
	}()
	lines := bufio.NewScanner(read)
	require.True(t, lines.Scan())
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(lines.Text())
	require.NotEmpty(t, url, lines.Text())
	resp, err := http.Get(url + "/v1/models")
	require.NoError(t, err)
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Contains(t, string(page), `"from-env"`)
	http.DefaultClient.CloseIdleConnections()
	stop()
	for lines.Scan() {
		assert.Equal(t, "vllmsim: stopping", lines.Text())
	}
	assert.Equal(t, exitOK, <-status)
}

func TestUsageErrors(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"--nope", "nope"},
		{"--forward-ms x", "forward-ms"},
		{"--forward-ms -1", "forward-ms must not be negative"},
		{"--listen 0.0.0.0:0", "--allow-remote"},
		{"--listen 127.0.0.1:99999", "127.0.0.1:99999"},
		{"--fault-cut-rate 2 --fault-503-rate -1", "fault-cut-rate"},
		{"serve", "unexpected argument"},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"vllmsim"}, strings.Fields(tt.args)...)
		assert.Equal(t, exitUsage, run(t.Context(), args, &out, &errs), tt.args)
		assert.Contains(t, errs.String(), tt.says)
		assert.Empty(t, out.String(), tt.args)
	}
}

func TestHelpNamesEveryFlagAndItsVariable(t *testing.T) {
	var out, errs bytes.Buffer
	require.Equal(t, exitOK, run(t.Context(), []string{"vllmsim", "--help"}, &out, &errs))
	for _, f := range flags() {
		assert.Contains(t, out.String(), "--"+f.Names()[0])
		assert.Contains(t, out.String(), f.(cli.DocGenerationFlag).GetEnvVars()[0])
	}
}

func TestZeroToolTurnsAnswersAtOnce(t *testing.T) {
	app := &cli.App{Flags: flags(), Action: func(c *cli.Context) error {
		assert.Negative(t, config(c).ToolTurns)
		return nil
	}}
	require.NoError(t, app.Run([]string{"vllmsim", "--tool-turns", "0"}))
}
