package owntool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/owntool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func pool(t *testing.T, tools ...toolpool.Tool) *toolpool.Pool {
	t.Helper()
	p, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	for _, tool := range tools {
		require.NoError(t, p.Register(tool))
	}
	return p
}

func call(t *testing.T, p *toolpool.Pool, name, args string) toolpool.Result {
	t.Helper()
	r, err := p.Call(t.Context(), toolpool.Call{Name: name, Arguments: args})
	require.NoError(t, err)
	return r
}

type distance struct {
	From  string  `json:"from" jsonschema:"the first town"`
	To    string  `json:"to"`
	Scale float64 `json:"scale,omitempty"`
}

func TestFunc(t *testing.T) {
	t.Parallel()
	tool, err := owntool.Func("distance", "How far it is.", func(_ context.Context, a distance) (string, error) {
		switch a.From {
		case "nowhere":
			return "", errors.New("there is no such town")
		case "panic":
			panic("broken")
		}
		return fmt.Sprintf("%s-%s-%g", a.From, a.To, a.Scale), nil
	})
	require.NoError(t, err)
	assert.JSONEq(t, `{"type":"object","properties":{"from":{"type":"string","description":"the first town"},"to":{"type":"string"},
		"scale":{"type":"number"}},"required":["from","to"],"additionalProperties":false}`, string(tool.Parameters))
	p := pool(t, tool)
	assert.Equal(t, "a-b-2", call(t, p, "distance", `{"from":"a","to":"b","scale":2}`).Content)
	assert.Contains(t, call(t, p, "distance", `{"from":"a"}`).Content, `missing "to"`)
	assert.Contains(t, call(t, p, "distance", `{"from":"nowhere","to":"b"}`).Content, "there is no such town")
	assert.Contains(t, call(t, p, "distance", `{"from":"panic","to":"b"}`).Content, "broke down")
	_, err = owntool.Func("x", "x", func(context.Context, string) (string, error) { return "", nil })
	assert.ErrorContains(t, err, "must be a struct")
}

var textParameters = json.RawMessage(`{"type":"object","properties":{"text":{"type":"string"},"n":{"type":"integer"},"more":{"type":"string"}},"required":["text"]}`)

func command(t *testing.T, argv ...string) owntool.Command {
	t.Helper()
	return owntool.Command{Name: "c", Description: "A command.", Parameters: textParameters, Argv: argv}
}

func run(t *testing.T, c owntool.Command, args string) toolpool.Result {
	t.Helper()
	tool, err := c.Tool()
	require.NoError(t, err)
	return call(t, pool(t, tool), "c", args)
}

// show prints each argument on its own line.
const show = `for a in "$@"; do printf '<%s>\n' "$a"; done`

func TestArgumentsAreValuesAndNeverCode(t *testing.T) {
	t.Parallel()
	sh := func(args ...string) owntool.Command {
		return command(t, append([]string{"sh", "-c", show, "sh"}, args...)...)
	}
	for _, c := range []struct {
		argv   []string
		args   string
		want   string
		failed bool
	}{
		{[]string{"{text}"}, `{"text":"a b; rm -rf / $(id) \"'"}`, "<a b; rm -rf / $(id) \"'>\n", false},
		{[]string{"--name={text}", "--n={n}", "--more={more}"}, `{"text":"x","n":5}`, "<--name=x>\n<--n=5>\n", false},
		{[]string{"{text}-{n}"}, `{"text":"x"}`, "<x->\n", false},
		{[]string{"{text}"}, `{"text":"{n}","n":1}`, "<{n}>\n", false},
		{[]string{"{text}"}, `{"text":"-rf"}`, `must not begin with "-"`, true},
		{[]string{"--", "{text}"}, `{"text":"-rf"}`, "<-->\n<-rf>\n", false},
		{[]string{"{n}", "{text}"}, `{"text":"x","n":-3}`, "<-3>\n<x>\n", false},
		{[]string{"{text}"}, `{"text":"a\u0000b"}`, "NUL character", true},
		{[]string{"{text}"}, `{}`, `missing "text"`, true},
	} {
		r := run(t, sh(c.argv...), c.args)
		assert.Equal(t, c.failed, r.Failed, "%v %s: %s", c.argv, c.args, r.Content)
		if c.failed {
			assert.Contains(t, r.Content, c.want)
		} else {
			assert.Equal(t, c.want, r.Content)
		}
	}
	in := command(t, "cat")
	in.Stdin = true
	assert.Equal(t, `{"text":"x"}`, run(t, in, `{"text": "x"}`).Content)
}

func TestCommandGetsItsEnvironmentAndFolder(t *testing.T) {
	t.Setenv("BATCHAGENT_API_KEY", "secret-31415")
	c := command(t, "sh", "-c", "env; pwd")
	c.Env, c.Dir = []string{"GIVEN=yes"}, t.TempDir()
	text := run(t, c, `{"text":""}`).Content
	assert.Contains(t, text, "GIVEN=yes")
	assert.Contains(t, text, filepath.Base(c.Dir))
	assert.NotContains(t, text, "secret-31415")
}

func TestFailingCommand(t *testing.T) {
	t.Parallel()
	long := run(t, command(t, "echo", "{text}"), `{"text":"`+strings.Repeat("x", 1<<20)+`"}`)
	assert.Equal(t, "Error: the arguments are too long for a command; make them shorter", long.Content)
	r := run(t, command(t, "sh", "-c", "echo half; echo no such table >&2; exit 4"), `{"text":""}`)
	assert.Equal(t, "Error: c ended with exit status 4: no such table", r.Content)
	assert.True(t, r.Failed)
	for want, argv := range map[string][]string{
		"no program \"no-such-program\"": {"no-such-program"}, "argv is empty": {}, "must not hold a placeholder": {"{text}"},
		"no parameter for the placeholder {word}; the parameters are: more, n, text": {"echo", "{word}"},
	} {
		_, err := command(t, argv...).Tool()
		assert.ErrorContains(t, err, want)
	}
}

func TestLongCommandOutputIsCut(t *testing.T) {
	t.Parallel()
	c := command(t, "head", "-c", "100000000", "/dev/zero")
	r := run(t, c, `{"text":""}`)
	assert.False(t, r.Failed)
	assert.Less(t, len(r.Content), 70<<10)
	assert.Contains(t, r.Content, "[cut: the first 65536 of 100000000 bytes]")
	loud := run(t, command(t, "sh", "-c", "head -c 100000000 /dev/zero >&2; exit 1"), `{"text":""}`)
	assert.True(t, loud.Failed)
	assert.Less(t, len(loud.Content), 4<<10)
}

// The whole process group ends with the call, including children in the background.
func TestHangingCommandIsKilledWithItsChildren(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	c := command(t, "sh", "-c", `sleep 1000 & echo $! > "$1"; wait`, "sh", "{text}")
	tool, err := c.Tool()
	require.NoError(t, err)
	tool.Timeout = 500 * time.Millisecond
	r := call(t, pool(t, tool), "c", fmt.Sprintf(`{"text":%q}`, file))
	assert.Contains(t, r.Content, "c gave no answer within 500ms and was stopped")
	assertGone(t, file)

	// A command can leave a child that holds the output open.
	left := run(t, command(t, "sh", "-c", `sleep 1000 & echo $! > "$1"; echo done`, "sh", "{text}"), fmt.Sprintf(`{"text":%q}`, file))
	assert.Equal(t, "done\n", left.Content)
	assertGone(t, file)
}

func assertGone(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	assert.Eventually(t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, 5*time.Second, 10*time.Millisecond)
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "http://other.invalid/", http.StatusFound)
		case "/big":
			_, _ = w.Write(make([]byte, 1<<20))
		case "/refused":
			http.Error(w, "no such order", http.StatusNotFound)
		default:
			_, _ = fmt.Fprintf(w, "%s %s key=%s %s", r.Method, r.URL.RequestURI(), r.Header.Get("X-Key"), body)
		}
	}))
	defer server.Close()
	transport := &http.Transport{DisableKeepAlives: true}
	try := func(h owntool.HTTP, args string) toolpool.Result {
		h.Name, h.Description, h.Parameters = "h", "A service.", textParameters
		tool, err := h.Tool(transport)
		require.NoError(t, err)
		return call(t, pool(t, tool), "h", args)
	}
	key := map[string]string{"X-Key": "k1"}
	assert.Equal(t, "GET /orders/a%2Fb%3Fc?q=x+y key=k1 ", try(owntool.HTTP{URL: server.URL + "/orders/{text}", Query: map[string]string{"q": "{more}", "n": "{n}"}, Headers: key}, `{"text":"a/b?c","more":"x y"}`).Content)
	assert.Equal(t, `POST /new key= {"text":"x"}`, try(owntool.HTTP{URL: server.URL + "/new", Body: true}, `{"text":"x"}`).Content)
	for path, want := range map[string]string{"/away": "redirects to another host", "/refused": "answered 404 Not Found: no such order"} {
		r := try(owntool.HTTP{URL: server.URL + path, Headers: key}, `{"text":"x"}`)
		assert.True(t, r.Failed)
		assert.Contains(t, r.Content, want)
	}
	assert.Contains(t, try(owntool.HTTP{URL: server.URL + "/{text}"}, `{"text":".."}`).Content, "cannot be part of a path")
	assert.Contains(t, try(owntool.HTTP{URL: server.URL + "/big"}, `{"text":""}`).Content, "[cut: the answer is longer than 65536 bytes]")
	post, err := owntool.HTTP{Name: "h", URL: server.URL, Method: "DELETE", Parameters: textParameters}.Tool(transport)
	require.NoError(t, err)
	assert.Equal(t, toolpool.Effect, post.Share)
	for url, want := range map[string]string{
		"http://{text}/": "host must not hold a placeholder", "ftp://x/": "must begin with https://", "http://x/?q={text}": "belong under the field query", "http://x/{word}": "no parameter for the placeholder",
	} {
		_, err := owntool.HTTP{Name: "h", URL: url, Parameters: textParameters}.Tool(transport)
		assert.ErrorContains(t, err, want, url)
	}
}

// A service may act and then break off. The model must not take the call for one that never arrived.
func TestHTTPCallWithoutAnswerMayHaveHadItsEffect(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/closes":
			panic(http.ErrAbortHandler)
		case "/cuts":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "booked")
		case "/fails":
			http.Error(w, "oops", http.StatusInternalServerError)
		case "/leaves":
			http.Redirect(w, r, "http://other.invalid/", http.StatusSeeOther)
		case "/refuses":
			http.Error(w, "no", http.StatusConflict)
		}
	}))
	defer server.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	const doubt = "It may or may not have done what was asked: look before you ask again."
	for url, want := range map[string]bool{
		server.URL + "/closes": true, server.URL + "/cuts": true, server.URL + "/fails": true, server.URL + "/leaves": true, server.URL + "/refuses": false, gone.URL: false,
	} {
		tool, err := owntool.HTTP{Name: "h", Description: "Books.", URL: url, Body: true, Parameters: textParameters}.Tool(&http.Transport{DisableKeepAlives: true})
		require.NoError(t, err)
		r := call(t, pool(t, tool), "h", `{"text":"x"}`)
		assert.True(t, r.Failed)
		assert.Equal(t, want, strings.HasSuffix(r.Content, doubt), r.Content)
	}
}
