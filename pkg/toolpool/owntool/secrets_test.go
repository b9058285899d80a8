package owntool_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/toolpool/owntool"
)

const secret = "sk-live-4f9a8c21e7b0d63a5"

// requireNoPiece fails if text holds more than the first quarter of the secret.
func requireNoPiece(t *testing.T, text string, msg ...any) {
	t.Helper()
	require.NotContains(t, text, secret[:len(secret)/4], msg...)
}

// A secret at the cut of an answer is removed completely, wherever the cut is.
func TestHTTPStrikesSecretsOutBeforeItCuts(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Query().Get("status"))
		w.WriteHeader(status)
		before, _ := strconv.Atoi(r.URL.Query().Get("before"))
		_, _ = fmt.Fprint(w, strings.Repeat("x", before)+secret+strings.Repeat(" y", 50))
	}))
	defer server.Close()
	tool, err := owntool.HTTP{
		Name: "echo", Description: "Echo.", URL: server.URL, MaxAnswer: 100, Secrets: redact.New(secret),
		Parameters: json.RawMessage(`{"type":"object","properties":{"status":{"type":"integer"},"before":{"type":"integer"}}}`),
		Query:      map[string]string{"status": "{status}", "before": "{before}"},
	}.Tool(http.DefaultTransport)
	require.NoError(t, err)
	for before := range 130 {
		text, err := tool.Run(t.Context(), json.RawMessage(fmt.Sprintf(`{"status":200,"before":%d}`, before)))
		require.NoError(t, err)
		requireNoPiece(t, text, before)
		_, err = tool.Run(t.Context(), json.RawMessage(fmt.Sprintf(`{"status":400,"before":%d}`, before)))
		require.Error(t, err)
		requireNoPiece(t, err.Error(), before)
	}
}

func TestCommandStrikesSecretsOutBeforeItCuts(t *testing.T) {
	t.Parallel()
	tool, err := owntool.Command{
		Name: "say", Description: "Say.", MaxOutput: 60, Secrets: redact.New(secret), Parameters: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}}}`),
		Argv: []string{"sh", "-c", `
			[ "$1" = 1 ] && { head -c 2040 /dev/zero | tr '\0' x >&2; printf '` + secret + `' >&2; exit 1; }
			head -c "$1" /dev/zero | tr '\0' x; printf '` + secret[:9] + `'; printf '` + secret[9:] + ` and more'`, "sh", "{n}"},
	}.Tool()
	require.NoError(t, err)
	for n := 30; n <= 60; n += 3 {
		text, err := tool.Run(t.Context(), json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)))
		require.NoError(t, err)
		requireNoPiece(t, text, n)
	}
	_, err = tool.Run(t.Context(), json.RawMessage(`{"n":1}`))
	require.Error(t, err)
	requireNoPiece(t, err.Error())
}

// No value of an argument leaves the folder that a URL names, however a server decodes it.
func TestHTTPPathsDoNotClimb(t *testing.T) {
	t.Parallel()
	reached := ""
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached = r.RequestURI }))
	defer server.Close()
	tool, err := owntool.HTTP{
		Name: "weather", Description: "Weather.", URL: server.URL + "/v1/{city}{suffix}/now",
		Parameters: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"},"suffix":{"type":"string"}}}`),
	}.Tool(http.DefaultTransport)
	require.NoError(t, err)
	for _, c := range [][2]string{
		{"..", ""}, {".", ""}, {"../../admin", ""}, {"a/../../admin", ""}, {"..\\admin", ""}, {"%2e%2e", ""}, {"%2e%2e%2fadmin", ""},
		{"..%2fadmin", ""}, {"..%2fadmin%zz", ""}, {".. ", ""}, {"..%00", ""}, {"%252e%252e", ""}, {".", "."}, {"..;x", ""}, {"a/..", ""}, {"%25252525252e", ""},
	} {
		args, err := json.Marshal(map[string]string{"city": c[0], "suffix": c[1]})
		require.NoError(t, err)
		_, err = tool.Run(t.Context(), args)
		require.Error(t, err, "%q", c)
	}
	require.Empty(t, reached)
	for _, city := range []string{"rome", "St. Gallen", "a..b", "...", "100%", "a/b", "50%25"} {
		args, err := json.Marshal(map[string]string{"city": city})
		require.NoError(t, err)
		_, err = tool.Run(t.Context(), args)
		require.NoError(t, err, city)
	}
}
