package modelapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

// TestSDKs runs the SDKs of both providers for Python, unmodified, against a session. The variable BATCHAGENT_SDK_PYTHON names a
// Python with the packages openai and anthropic.
func TestSDKs(t *testing.T) {
	t.Parallel()
	python := os.Getenv("BATCHAGENT_SDK_PYTHON")
	if python == "" {
		python = "python3"
	}
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import openai, anthropic").CombinedOutput(); err != nil { //nolint:gosec // the operator's Python
		require.Empty(t, os.Getenv("BATCHAGENT_SDK_PYTHON"), "%s", out)
		t.Skipf("%s has no packages openai and anthropic; set BATCHAGENT_SDK_PYTHON", python)
	}
	model := &talker{calls: map[string]int{}, cut: make(chan struct{})}
	server := httptest.NewServer(http.StripPrefix("/s/secret", New(model)))
	defer server.Close()
	script := exec.CommandContext(t.Context(), python, "testdata/sdk.py", server.URL+"/s/secret") //nolint:gosec // as above
	script.Env = append(os.Environ(), "NO_PROXY=127.0.0.1", "OPENAI_API_KEY=", "ANTHROPIC_API_KEY=")
	out, err := script.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
	assert.Equal(t, 15, strings.Count(string(out), "ok "))

	model.mu.Lock()
	defer model.mu.Unlock()
	assert.Equal(t, 5, model.calls["fail overloaded"], "no SDK repeats a call that the session gave up")
	assert.Len(t, model.returned, 7, "each tool loop returned its message")
	for i, m := range model.returned {
		if m.Reasoning != nil {
			m.Reasoning = &backend.Reasoning{Text: m.Reasoning.Text, Protocol: m.Reasoning.Protocol}
		}
		for j := range m.ToolCalls {
			m.ToolCalls[j].Arguments = strings.ReplaceAll(m.ToolCalls[j].Arguments, " ", "")
		}
		assert.Equal(t, backend.Message{
			Role: backend.RoleAssistant, Content: "Let me look.", Reasoning: &backend.Reasoning{Text: "I need it.", Protocol: backend.ProtocolChat},
			ToolCalls: []backend.ToolCall{{ID: "call_1", Name: "get_weather", Arguments: `{"city":"Rome"}`}, {ID: "call_2", Name: "get_weather", Arguments: `{"city":"Oslo"}`}},
		}, m, "loop %d", i)
	}
}

// talker is a Caller that answers the last message.
type talker struct {
	mu       sync.Mutex
	calls    map[string]int    // by the text of the last message; guarded by mu
	returned []backend.Message // messages with calls that a program sent back; guarded by mu
	cut      chan struct{}     // a message "cut the stream" meets the call that is to fail later
}

func (m *talker) Models(context.Context) ([]backend.Model, error) {
	return []backend.Model{{ID: "qwen3", MaxModelLen: 4096}}, nil
}

func (m *talker) CountTokens(_ context.Context, r *backend.Request) (int, error) {
	return len(strings.Fields(r.Messages[0].Text())), nil
}

func (m *talker) Call(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	last := r.Messages[len(r.Messages)-1]
	text := last.Text()
	m.mu.Lock()
	m.calls[text]++
	for _, sent := range r.Messages {
		if len(sent.ToolCalls) > 0 {
			m.returned = append(m.returned, sent)
		}
	}
	m.mu.Unlock()
	answer := backend.Response{
		Message: backend.Message{Role: backend.RoleAssistant, Content: "It is sunny in Rome."}, Finish: backend.FinishStop,
		Usage: backend.Usage{PromptTokens: 30, CachedTokens: 16, CompletionTokens: 4},
	}
	class, failing := strings.CutPrefix(text, "fail ")
	images := 0
	for _, p := range last.Parts {
		if p.Image != "" {
			images++
		}
	}
	switch {
	case failing && class == "later":
		if o.Text != nil {
			o.Text("It is")
		}
		select {
		case <-m.cut:
		case <-ctx.Done():
		}
		return nil, &backend.Error{Class: backend.Transient, Message: "the stream was cut"}
	case failing:
		return nil, &backend.Error{Class: backend.Class(class), Message: "asked for"}
	case text == "cut the stream":
		select {
		case m.cut <- struct{}{}:
		case <-ctx.Done():
		}
	case r.SendsSchema():
		answer.Message.Content = `{"ok": true}`
	case images > 0:
		answer.Message.Content = fmt.Sprintf("I see %d image.", images)
	case len(r.Tools) > 0 && last.Role == backend.RoleUser:
		answer = answersOfServers[1].response
		answer.Message.ToolCalls = []backend.ToolCall{
			{ID: "call_1", Name: "get_weather", Arguments: `{"city": "Rome"}`}, {ID: "call_2", Name: "get_weather", Arguments: `{"city": "Oslo"}`},
		}
		if o.Reasoning != nil {
			o.Reasoning("I need ")
			o.Reasoning("it.")
			o.Text("Let me ")
			o.Text("look.")
			o.ToolCall(0, answer.Message.ToolCalls[0])
		}
		return &answer, nil
	}
	for word := range strings.SplitSeq(answer.Message.Content, " ") {
		if o.Text != nil && word != "Rome." {
			o.Text(word + " ")
		}
	}
	return &answer, nil
}
