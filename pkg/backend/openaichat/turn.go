package openaichat

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// maxTurnBytes limits the content, reasoning and arguments of one turn together.
const maxTurnBytes = 8 << 20

// maxTurnCalls limits the tool calls of one turn. An agent runs 32 of them.
const maxTurnCalls = 1_000

// turn assembles one stream's events. It does no I/O, so a recording can feed it.
type turn struct {
	observer backend.Observer
	chunks   chunkReader
	start    time.Time
	ttft     time.Duration
	model    string

	content, refusal strings.Builder
	thoughts         thoughts
	text, thinking   piecewise // report content and thoughts to the observer
	calls            callList
	finish           string
	usage            *backend.Usage
	runaway          *runaway // nil if whitespace is not watched
	size             int

	rules    rules
	dispatch bool   // events may contain whole calls
	done     bool   // the end mark came
	events   int    // number of events
	stray    []byte // the first line of the body outside of events, shortened

	announced []*callDelta // by events since the last chunk
}

func newTurn(o backend.Observer, watchWhitespace bool) *turn {
	t := &turn{observer: o, start: time.Now()}
	t.calls.report = o.ToolCall
	t.text.report, t.thinking.report = o.Text, o.Reasoning
	if watchWhitespace {
		t.runaway = new(runaway)
	}
	return t
}

// take handles one event of the stream. An error ends the turn. over reports that the stream has ended.
//
// A failure after a complete answer is ignored: the answer counts.
func (t *turn) take(ev streamEvent) (over bool, err error) {
	t.events++
	switch ev.kind {
	case doneEvent:
		t.done = true
		return true, nil
	case errorEvent:
		err = t.rules.streamError(ev.data)
	case unreadable:
		err = lost(unknownField)
	default:
		err = t.add(ev.data, ev.kind)
	}
	if err != nil && t.finish != "" && backend.ClassOf(err) != backend.Degenerate {
		return false, nil
	}
	return false, err
}

// lost returns the error for an unreadable event that may have contained text.
func lost(message string) error {
	return &backend.Error{Class: backend.Transient, Status: http.StatusOK, Message: message}
}

// add handles the data of one event.
func (t *turn) add(event []byte, kind eventKind) error {
	c, err := t.chunks.read(event)
	if err != nil {
		return t.unread(event, kind, err)
	}
	if c.Object == "error" || isError(c.Error) {
		return t.rules.streamError(event)
	}
	if c.Model != "" {
		t.model = string(c.Model)
	}
	if c.Usage == nil && c.Groq != nil {
		c.Usage = c.Groq.Usage
	}
	t.count(c.Usage)
	if c.ToolCall != nil && t.dispatch && c.ChoiceIndex == 0 && isObject(string(c.ToolCall.Function.Arguments)) {
		t.begin()
		t.announced = append(t.announced, c.ToolCall)
		t.size += callCost + len(c.ToolCall.Function.Arguments)
	}
	if len(c.Choices) == 0 && kind != namedEvent && c.ToolCall == nil && c.Usage == nil {
		return t.foreign(event, kind)
	}
	for i := range c.Choices {
		if c.Choices[i].Index != 0 {
			continue
		}
		if err := t.choice(&c.Choices[i]); err != nil {
			return err
		}
	}
	if len(t.calls.calls) > maxTurnCalls {
		return t.degenerate(fmt.Sprintf("the turn makes more than %d tool calls", maxTurnCalls))
	}
	if t.size > maxTurnBytes {
		return t.degenerate(fmt.Sprintf("the turn is longer than %d bytes", maxTurnBytes))
	}
	return nil
}

// isError reports whether an event's error has content. Some servers send an empty error with each event.
func isError(raw json.RawMessage) bool {
	switch string(raw) {
	case "", "null", "{}", "[]", `""`, "false", "0":
		return false
	}
	return true
}

func (t *turn) count(u *usage) {
	if u != nil {
		t.usage = u.reported()
	}
}

// keepAlives are data that servers send to keep a connection open.
var keepAlives = []string{"ping", "pong", "keepalive", "keep-alive", "heartbeat", "null"}

// unread returns the error for data that is not a chunk, or nil if the data has no text.
func (t *turn) unread(event []byte, kind eventKind, err error) error {
	word := strings.ToLower(strings.Trim(string(event[:min(len(event), maxStray)]), `" `))
	if kind == namedEvent && event[0] != '{' || slices.Contains(keepAlives, word) {
		return nil
	}
	if kind == unframed && isPage(event) {
		e := plainBody(event)
		return lost(e.message + ", not a stream; is this an OpenAI-compatible server?")
	}
	if e := parseErrorBody(event); e.found {
		return t.rules.streamError(event)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return lost(fmt.Sprintf("a chunk of the stream has an unreadable %s", wrong.Field))
	}
	return lost("an event of the stream is not a chat chunk")
}

// foreign returns an error if an event without choices may contain text in another protocol's form.
func (t *turn) foreign(event []byte, kind eventKind) error {
	var other map[string]json.RawMessage
	if json.Unmarshal(event, &other) != nil {
		return nil
	}
	if _, ok := other["choices"]; ok || other["usage"] != nil {
		return nil
	}
	if kind == unframed {
		if e := parseErrorBody(event); e.found {
			return t.rules.streamError(event)
		}
		return lost("the answer is JSON and no chat completion; is this an OpenAI-compatible server?")
	}
	for _, name := range []string{"content", "delta", "text", "token", "response", "output", "generated_text"} {
		if raw, ok := other[name]; ok && plain(raw) != "" && string(raw) != "{}" && string(raw) != `[]` {
			return lost(fmt.Sprintf("an event of the stream is not a chat chunk but has %q", name))
		}
	}
	if e := parseErrorBody(event); e.found && e.code != "" {
		return t.rules.streamError(event)
	}
	return nil
}

// choice handles the part of an event that belongs to the answer.
func (t *turn) choice(c *choice) error {
	reason := reasonOf(string(c.FinishReason))
	// The server may have completed a call that arrives in the chunk with the cut. A call announced by an event is
	// therefore accepted one chunk later.
	t.calls.quiet = t.calls.quiet || reason == finishLength
	for _, d := range t.announced {
		t.calls.dispatched(d)
	}
	t.announced = nil
	t.count(c.Usage)
	d := c.Delta
	if c.Message != nil && t.content.Len() == 0 && len(t.calls.calls) == 0 && (d == nil || d.Content.text == "" && len(d.ToolCalls) == 0) {
		d = c.Message
	}
	if d == nil {
		d = &delta{Content: content{text: string(c.Text)}}
	}
	if d.Content.lost != "" {
		return lost("a part of the content is not readable: " + d.Content.lost)
	}
	t.delta(d)
	if reason != "" && t.finish != finishLength && !(isFailure(reason) && t.finish != "") { // a cut or an answer is not replaced
		t.finish = reason
	}
	if t.runaway != nil && t.runaway.feed(d.Content.text) {
		return t.degenerate("the model writes whitespace without end")
	}
	return nil
}

func (t *turn) delta(d *delta) {
	thought := t.thoughts.add(&d.thoughtDelta) + t.thoughts.text(thinkingParts, d.Content.reasoning)
	t.size += len(d.Content.text) + thought + len(d.Refusal) + len(d.Content.refusal)
	if d.Content.text != "" || thought > 0 || len(d.ToolCalls) > 0 || d.FunctionCall != nil {
		t.begin()
	}
	t.content.WriteString(d.Content.text)
	t.thinking.add(t.thoughts.takeFresh())
	t.text.add(d.Content.text)
	t.refusal.WriteString(string(d.Refusal) + d.Content.refusal)
	for j := range d.ToolCalls {
		t.size += t.calls.add(&d.ToolCalls[j])
	}
	if f := d.FunctionCall; f != nil && len(d.ToolCalls) == 0 {
		piece := callDelta{}
		piece.Function.Name, piece.Function.Arguments = f.Name, f.Arguments
		t.size += t.calls.add(&piece)
	}
}

// begin marks the first token.
func (t *turn) begin() {
	if t.ttft != 0 {
		return
	}
	t.ttft = max(time.Since(t.start), 1)
	if t.observer.FirstToken != nil {
		t.observer.FirstToken()
	}
}

// end completes the turn. err is the end of the stream: io.EOF for a body that ended properly, nil for "[DONE]".
//
// With a finish reason the answer is complete, even if the stream broke after it. Without one the answer counts if the
// stream ended properly and the message is complete by itself.
func (t *turn) end(err error) (*backend.Response, error) {
	if t.finish == "" {
		if err != nil && !errors.Is(err, io.EOF) || !t.whole() {
			return nil, t.cut(err)
		}
		t.finish = finishStop
	}
	reason, err := t.finishReason()
	if err != nil {
		return nil, err
	}
	resp := &backend.Response{
		Message: backend.Message{Role: backend.RoleAssistant, Content: joined(t.content.String()), Reasoning: t.thoughts.reasoning()},
		Finish:  reason,
		Usage:   backend.Usage{CachedTokens: -1},
		Model:   t.model,
		TTFT:    t.ttft,
	}
	if reason == backend.FinishRefused {
		resp.Refusal = joined(t.refusal.String())
		resp.Message.Content = cmp.Or(resp.Message.Content, resp.Refusal)
	}
	if t.usage != nil {
		resp.Usage = *t.usage
	}
	resp.Message.ToolCalls = t.calls.finish(reason == backend.FinishToolCalls)
	resp.Duration = time.Since(t.start)
	return resp, nil
}

// whole reports whether the message is complete by itself: its calls are complete, or it is one closed JSON object or
// array. Text beside complete calls is accepted: no server sends text after its calls.
func (t *turn) whole() bool {
	if t.refusal.Len() > 0 {
		return false
	}
	if len(t.calls.calls) > 0 {
		return t.calls.whole()
	}
	text := strings.TrimSpace(t.content.String())
	return len(text) > 1 && (text[0] == '{' || text[0] == '[') && json.Valid([]byte(text))
}

func (t *turn) finishReason() (backend.FinishReason, error) {
	switch t.finish {
	case finishStop, finishCalls:
		// A named tool choice ends with "stop". A parser may announce calls and then withhold them.
		switch {
		case len(t.calls.calls) > 0:
			return backend.FinishToolCalls, nil
		case t.refusal.Len() > 0:
			return backend.FinishRefused, nil
		default:
			return backend.FinishStop, nil
		}
	case finishLength:
		return backend.FinishLength, nil
	case finishRefused:
		return backend.FinishRefused, nil
	}
	if t.whole() && !isFailure(t.finish) {
		t.finish = finishStop
		return t.finishReason()
	}
	return "", lost(fmt.Sprintf("the server ended the turn with %.40q", t.finish))
}

// cut returns the error for a stream that ended too early.
func (t *turn) cut(err error) error {
	if be, ok := errors.AsType[*backend.Error](err); ok {
		return be
	}
	message := "the stream ended without a finish reason"
	switch {
	case t.done && t.content.Len() > 0:
		message += ": its text may have been cut; with an output_schema, a whole answer would be recognised"
	case t.events > 0:
	case len(t.stray) > 0:
		message = fmt.Sprintf("the answer is not a stream of events: %q", endpoint.OneLine(strings.ToValidUTF8(string(t.stray), "")))
	default:
		message = "the answer is empty"
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return &backend.Error{Class: backend.Transient, Status: http.StatusOK, Message: message, Err: err}
}

func (t *turn) degenerate(message string) error {
	return &backend.Error{Class: backend.Degenerate, Status: http.StatusOK, Message: message, Partial: endpoint.Partial(t.content.String())}
}
