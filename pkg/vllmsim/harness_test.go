package vllmsim

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// pipe serves a server over in-memory connections, so that it runs inside a synctest bubble.
type pipe struct {
	t      testing.TB
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	server *http.Server
	client *http.Client
}

func newPipe(t testing.TB, cfg Config) (*Server, *pipe) {
	t.Helper()
	s, err := New(cfg)
	require.NoError(t, err)
	p := &pipe{t: t, conns: make(chan net.Conn), closed: make(chan struct{}), server: &http.Server{Handler: s}}
	p.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		client, server := net.Pipe()
		select {
		case p.conns <- server:
			return client, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}}
	served := make(chan struct{})
	go func() { defer close(served); _ = p.server.Serve(p) }()
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		_ = p.server.Close()
		<-served
	})
	return s, p
}

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipe) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipe) Addr() net.Addr { return &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)} }

type header map[string]string

// post sends a chat completion. The caller must close the body.
func (p *pipe) post(ctx context.Context, body string, h header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1/v1/chat/completions", strings.NewReader(body))
	require.NoError(p.t, err)
	req.Header.Set("Content-Type", "application/json")
	for k, v := range h {
		req.Header.Set(k, v)
	}
	return p.client.Do(req)
}

// reply is one answer, streamed or not.
type reply struct {
	status  int
	header  http.Header
	content string
	calls   []replyCall
	finish  string
	usage   replyUsage
	events  int
	done    bool
	err     error // of reading
	raw     string
}

type replyCall struct{ id, name, args string }

type replyUsage struct {
	Prompt     int `json:"prompt_tokens"`
	Total      int `json:"total_tokens"`
	Completion int `json:"completion_tokens"`
	Details    struct {
		Cached  int `json:"cached_tokens"`
		Created int `json:"created_cache_tokens"`
	} `json:"prompt_tokens_details"`
}

type wireMessage struct {
	Content   string `json:"content"`
	ToolCalls []struct {
		Index    int    `json:"index"`
		ID       string `json:"id"`
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

// ask sends a chat completion and reads the whole answer.
func (p *pipe) ask(ctx context.Context, body string, h header) reply {
	p.t.Helper()
	resp, err := p.post(ctx, body, h)
	require.NoError(p.t, err)
	return read(p.t, resp)
}

func read(t testing.TB, resp *http.Response) reply {
	t.Helper()
	defer func() { _ = resp.Body.Close() }()
	r := reply{status: resp.StatusCode, header: resp.Header}
	take := func(data []byte) {
		var event struct {
			Choices []struct {
				Delta, Message wireMessage
				FinishReason   string `json:"finish_reason"`
			}
			Usage replyUsage
		}
		require.NoError(t, json.Unmarshal(data, &event), string(data))
		if event.Usage.Total > 0 {
			r.usage = event.Usage
		}
		for _, c := range event.Choices {
			r.finish += c.FinishReason
			for _, m := range []wireMessage{c.Delta, c.Message} {
				r.content += m.Content
				for _, call := range m.ToolCalls {
					for len(r.calls) <= call.Index {
						r.calls = append(r.calls, replyCall{})
					}
					at := &r.calls[call.Index]
					at.id += call.ID
					at.name += call.Function.Name
					at.args += call.Function.Arguments
				}
			}
		}
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		raw, err := io.ReadAll(resp.Body)
		r.err, r.raw = err, string(raw)
		if err == nil && resp.StatusCode == http.StatusOK {
			take(raw)
		}
		return r
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok:
			require.Empty(t, lines.Text())
		case data == "[DONE]":
			r.done = true
		case json.Valid([]byte(data)):
			r.events++
			take([]byte(data))
		}
	}
	r.err = lines.Err()
	return r
}

// chatBody builds a request from JSON pieces.
func chatBody(messages, more string) string {
	if more != "" {
		more = "," + more
	}
	return `{"model":"sim","messages":[` + messages + `]` + more + `}`
}

func user(text string) string   { return say("user", text) }
func system(text string) string { return say("system", text) }

func say(role, text string) string {
	b, _ := json.Marshal(map[string]string{"role": role, "content": text})
	return string(b)
}

const (
	streamed = `"stream":true,"stream_options":{"include_usage":true}`
	readFile = `"tools":[{"type":"function","function":{"name":"read_file","description":"Read a text file","parameters":{"type":"object","properties":{"path":{"type":"string"},"encoding":{"type":"string"},"limit":{"type":"integer","minimum":1}},"required":["path"],"additionalProperties":false}}}]`
)

// toolTurn returns the messages that a client appends after a tool call.
func toolTurn(c replyCall, result string) string {
	b, _ := json.Marshal([]any{
		map[string]any{"role": "assistant", "content": "", "tool_calls": []any{map[string]any{"id": c.id, "type": "function", "function": map[string]any{"name": c.name, "arguments": c.args}}}},
		map[string]any{"role": "tool", "tool_call_id": c.id, "content": result},
	})
	return "," + strings.Trim(string(b), "[]")
}
