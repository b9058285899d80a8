package backendtest

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Features are the abilities of the server under test. Tests of missing abilities are skipped.
type Features struct {
	Tools     bool // its model calls a tool on request
	Forced    bool // its model calls a tool with tool_choice "required", however small it is
	Schema    bool // it enforces a schema on answers
	Tokenizer bool // the adapter is a backend.TokenCounter
	Load      bool // the adapter is a backend.LoadReporter, and the server has no other clients
	Images    bool // its model reads images
	Reasoning bool // its model reasons, and the server separates the reasoning from the answer
}

// Target is an adapter on a server.
type Target struct {
	Backend backend.Backend
	Model   string                 // a served model
	Dead    func() backend.Backend // the same adapter on an address without a server
	// Calling are further request fields that make a model write a tool call in the form that the server's tool parser
	// reads. They are for models that are too small to call tools by themselves. Nil for other models.
	Calling map[string]json.RawMessage
}

// Run tests an adapter against the contract of [backend.Backend]. factory is called once per test; the suite closes the backends.
func Run(t *testing.T, f Features, factory func(t *testing.T) Target) {
	t.Helper()
	cases := []struct {
		name string
		when bool
		test func(*testing.T, Target)
	}{
		{"ReadyServerListsItsModels", true, testModels},
		{"CapabilitiesAreDeclared", true, testCapabilities},
		{"TextAnswerHasFinishAndUsage", true, testText},
		{"NoModelTakesTheFirst", true, testDefaultModel},
		{"TokenLimitIsFinishLength", true, testLength},
		{"ToolCallIsReportedOnceAsInTheMessage", f.Tools, testToolCall},
		{"ToolResultTurnIsAccepted", f.Tools, testToolResult},
		{"ForcedToolCallAndItsResult", f.Forced, testForcedCall},
		{"PiecesBeginTheAnswer", true, testPieces},
		{"TextPartsAreAccepted", true, testTextParts},
		{"ImageIsAccepted", f.Images, testImage},
		{"NamedToolIsCalled", f.Forced, testNamedTool},
		{"SchemaBesideToolsIsAccepted", f.Tools && f.Schema, testSchemaBesideTools},
		{"ReasoningIsTakenBack", f.Reasoning, testReasoningTakenBack},
		{"SchemaHoldsTheAnswer", f.Schema, testSchema},
		{"PromptTokensAreCountedAsBilled", f.Tokenizer, testCount},
		{"UnknownModelHasItsClass", true, testUnknownModel},
		{"NobodyListeningIsTransient", true, testDead},
		{"CancelReturnsItsCause", true, testCancel},
		{"CancelFreesTheServer", f.Load, testCancelFrees},
		{"CancelledBeforeTheCall", true, testCancelledBefore},
		{"CallsRunSideBySide", true, testConcurrent},
	}
	for _, c := range cases {
		if !c.when {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			target := factory(t)
			defer target.Backend.Close()
			c.test(t, target)
		})
	}
}

func testModels(t *testing.T, target Target) {
	t.Helper()
	require.NoError(t, target.Backend.Ready(t.Context()))
	models, err := target.Backend.Models(t.Context())
	require.NoError(t, err)
	var ids []string
	for _, m := range models {
		ids = append(ids, m.ID)
	}
	assert.Contains(t, ids, target.Model)
}

func testCapabilities(t *testing.T, target Target) {
	t.Helper()
	caps := target.Backend.Capabilities()
	assert.NotEmpty(t, caps.Name)
	assert.Positive(t, caps.MaxConcurrent)
	assert.NotEmpty(t, target.Backend.Endpoint())
}

func testText(t *testing.T, target Target) {
	t.Helper()
	firstTokens := 0
	resp, err := target.Backend.Generate(t.Context(), question(target), backend.Observer{FirstToken: func() { firstTokens++ }})
	require.NoError(t, err)
	assert.Equal(t, 1, firstTokens)
	assert.Equal(t, backend.RoleAssistant, resp.Message.Role)
	assert.NotEmpty(t, resp.Message.Content+resp.Message.ReasoningText())
	assert.Contains(t, []backend.FinishReason{backend.FinishStop, backend.FinishLength}, resp.Finish)
	assert.Positive(t, resp.Usage.PromptTokens)
	assert.Positive(t, resp.Usage.CompletionTokens)
	assert.GreaterOrEqual(t, resp.Usage.CachedTokens, int64(-1))
	assert.Equal(t, target.Model, resp.Model)
	assert.Positive(t, resp.TTFT)
	assert.LessOrEqual(t, resp.TTFT, resp.Duration)
}

func testDefaultModel(t *testing.T, target Target) {
	t.Helper()
	models, err := target.Backend.Models(t.Context())
	require.NoError(t, err)
	r := question(target)
	r.Model = ""
	resp, err := target.Backend.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.Equal(t, models[0].ID, resp.Model)
}

func testLength(t *testing.T, target Target) {
	t.Helper()
	r := question(target)
	r.Sampling.MaxTokens = 1
	resp, err := target.Backend.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.Equal(t, backend.FinishLength, resp.Finish)
}

func testToolCall(t *testing.T, target Target) {
	t.Helper()
	resp, reported := callTool(t, target, toolRequest(target))
	assert.Equal(t, resp.Message.ToolCalls, reported)
	ids := map[string]bool{}
	for _, c := range resp.Message.ToolCalls {
		assert.NotEmpty(t, c.ID)
		assert.False(t, ids[c.ID], "ID %s twice", c.ID)
		ids[c.ID] = true
		assert.Equal(t, weather.Name, c.Name)
		assert.True(t, json.Valid([]byte(c.Arguments)), c.Arguments)
	}
}

func testToolResult(t *testing.T, target Target) {
	t.Helper()
	resp, _ := callTool(t, target, toolRequest(target))
	answerWithResults(t, target, resp)
}

// answerWithResults sends the results of a turn's calls, with tools withheld.
func answerWithResults(t *testing.T, target Target, resp *backend.Response) {
	t.Helper()
	r := question(target)
	r.Tools, r.ToolChoice = []backend.Tool{weather}, backend.ToolChoiceNone
	r.Messages = append(r.Messages, resp.Message)
	for _, c := range resp.Message.ToolCalls {
		r.Messages = append(r.Messages, backend.Message{Role: backend.RoleTool, ToolCallID: c.ID, Content: "sunny, 21 degrees"})
	}
	answer, err := target.Backend.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.Empty(t, answer.Message.ToolCalls)
	assert.NotEmpty(t, answer.Message.Content)
}

// testForcedCall runs a conversation with a tool: the call, its result, and the answer.
func testForcedCall(t *testing.T, target Target) {
	t.Helper()
	r := toolRequest(target)
	r.ToolChoice, r.Sampling.ExtraBody = backend.ToolChoiceRequired, nil
	resp, reported := callTool(t, target, r)
	assert.Equal(t, resp.Message.ToolCalls, reported)
	for _, c := range resp.Message.ToolCalls {
		assert.Equal(t, weather.Name, c.Name)
		var args struct {
			City *string `json:"city"`
		}
		require.NoError(t, json.Unmarshal([]byte(c.Arguments), &args), c.Arguments)
		assert.NotNil(t, args.City, "a strict tool's arguments obey its schema: %s", c.Arguments)
	}
	answerWithResults(t, target, resp)
}

func testSchema(t *testing.T, target Target) {
	t.Helper()
	r := question(target)
	r.Sampling.MaxTokens = 128
	r.Schema = &backend.Schema{Name: "answer", JSON: []byte(
		`{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}`)}
	resp, err := target.Backend.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	var answer struct {
		OK *bool `json:"ok"`
	}
	require.NoError(t, json.Unmarshal([]byte(resp.Message.Content), &answer), resp.Message.Content)
	assert.NotNil(t, answer.OK)
}

func testCount(t *testing.T, target Target) {
	t.Helper()
	counter, ok := target.Backend.(backend.TokenCounter)
	require.True(t, ok)
	r := question(target)
	n, err := counter.CountTokens(t.Context(), r)
	require.NoError(t, err)
	resp, err := target.Backend.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.EqualValues(t, resp.Usage.PromptTokens, n)
}

func testUnknownModel(t *testing.T, target Target) {
	t.Helper()
	r := question(target)
	r.Model = "no-such-model"
	_, err := target.Backend.Generate(t.Context(), r, backend.Observer{})
	require.Equal(t, backend.UnknownModel, backend.ClassOf(err), "%v", err)
	assert.ErrorContains(t, err, target.Backend.Endpoint())
}

func testDead(t *testing.T, target Target) {
	t.Helper()
	dead := target.Dead()
	defer dead.Close()
	_, err := dead.Generate(t.Context(), question(target), backend.Observer{})
	assert.Equal(t, backend.Transient, backend.ClassOf(err), "%v", err)
	assert.Equal(t, backend.Transient, backend.ClassOf(dead.Ready(t.Context())))
}

func testCancel(t *testing.T, target Target) {
	t.Helper()
	reason := errors.New("the lease is gone")
	err := cancelAtFirstToken(t, target, reason)
	require.ErrorIs(t, err, reason)
	assert.Empty(t, backend.ClassOf(err), "a cancelled call is no failure of the server")
}

// testCancelFrees observes the request at the server before cancelling it, and its absence after. Without the first
// observation the test would prove nothing.
func testCancelFrees(t *testing.T, target Target) {
	t.Helper()
	reporter, ok := target.Backend.(backend.LoadReporter)
	require.True(t, ok)
	seen := false
	for range 50 { // an answer may end before the load is read
		if seen = cancelWhenSeen(t, target, reporter); seen {
			break
		}
	}
	require.True(t, seen, "the server's load never showed a running request")
	require.Eventually(t, func() bool {
		load, err := reporter.Load(t.Context())
		return err == nil && load.Running == 0 && load.Waiting == 0
	}, 10*time.Second, 20*time.Millisecond)
}

// cancelWhenSeen cancels a long call once the server's load includes it. It returns false if the call ended unseen.
func cancelWhenSeen(t *testing.T, target Target, reporter backend.LoadReporter) bool {
	t.Helper()
	reason := errors.New("not wanted any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	r := question(target)
	r.Sampling.MaxTokens = 1000
	ended := make(chan error, 1)
	go func() {
		_, err := target.Backend.Generate(ctx, r, backend.Observer{})
		ended <- err
	}()
	for {
		load, err := reporter.Load(t.Context())
		if err == nil && load.Running > 0 {
			cancel(reason)
			return errors.Is(<-ended, reason)
		}
		select {
		case err := <-ended:
			require.NoError(t, err)
			return false
		default:
		}
	}
}

func cancelAtFirstToken(t *testing.T, target Target, reason error) error {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	r := question(target)
	r.Sampling.MaxTokens = 1000
	_, err := target.Backend.Generate(ctx, r, backend.Observer{FirstToken: func() { cancel(reason) }})
	return err
}

func testCancelledBefore(t *testing.T, target Target) {
	t.Helper()
	reason := errors.New("the batch is cancelled")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	_, err := target.Backend.Generate(ctx, question(target), backend.Observer{})
	assert.ErrorIs(t, err, reason)
}

func testConcurrent(t *testing.T, target Target) {
	t.Helper()
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			resp, err := target.Backend.Generate(t.Context(), question(target), backend.Observer{})
			if assert.NoError(t, err) {
				assert.NotEmpty(t, resp.Message.Content+resp.Message.ReasoningText())
			}
		})
	}
	calls.Wait()
}

var weather = backend.Tool{
	Name:        "get_weather",
	Description: "Current weather of a city",
	Parameters:  []byte(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`),
	Strict:      true,
}

// question returns a request that any server can answer, deterministically if the server can.
func question(target Target) *backend.Request {
	zero := 0.0
	return &backend.Request{
		ID:    "suite/job-0#1",
		Model: target.Model,
		Messages: []backend.Message{
			{Role: backend.RoleSystem, Content: "You are a careful assistant. Answer briefly."},
			{Role: backend.RoleUser, Content: "What is the weather in Rome? Use the tool if there is one."},
		},
		Sampling: backend.Sampling{Temperature: &zero, MaxTokens: 24},
	}
}

// toolRequest returns a question for the only tool.
func toolRequest(target Target) *backend.Request {
	r := question(target)
	r.Sampling.MaxTokens = 128
	r.Sampling.ExtraBody = target.Calling
	r.Tools = []backend.Tool{weather}
	return r
}

// callTool runs a turn that ends with tool calls, and returns the observed calls by index.
func callTool(t *testing.T, target Target, r *backend.Request) (*backend.Response, []backend.ToolCall) {
	t.Helper()
	told := map[int]backend.ToolCall{}
	resp, err := target.Backend.Generate(t.Context(), r, backend.Observer{ToolCall: func(i int, c backend.ToolCall) {
		assert.NotContains(t, told, i, "a call is reported once")
		told[i] = c
	}})
	require.NoError(t, err)
	require.Equal(t, backend.FinishToolCalls, resp.Finish, resp.Message.Content)
	reported := make([]backend.ToolCall, len(told))
	for i := range reported {
		reported[i] = told[i]
	}
	return resp, reported
}
