package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
)

// model is the inference server of one worker. The seed, the job and the turn determine its answers, delays and faults. Faults
// stop at calmAt.
type model struct {
	world *world
	proc  *process

	// Guarded by proc.net.mu.
	calls  int            // in flight now
	served map[string]int // number of attempts of each call
	away   bool           // the server is restarting
}

func newModel(w *world, p *process) *model {
	return &model{world: w, proc: p, served: make(map[string]int)}
}

// Generate implements [backend.Backend].
func (m *model) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("generate: %w", context.Cause(ctx))
	}
	draw, away, nth := m.draw("generate", r.ID, digest(r.Messages))
	m.enter(1)
	defer m.enter(-1)
	m.world.conduct.asks(m.proc, r.ID, false)
	fail := func(class backend.Class, after time.Duration, format string, args ...any) error {
		return &backend.Error{Class: class, Endpoint: m.Endpoint(), RetryAfter: after, Message: fmt.Sprintf(format, args...)}
	}
	took := between(draw, time.Millisecond, m.world.cfg.turnTime)
	quick := between(draw, time.Millisecond, 20*time.Millisecond)
	later := between(draw, 10*time.Millisecond, 2*time.Second)
	fate := draw.Float64()
	if m.world.net.isCalm() {
		fate = 1
	}
	resp := m.answer(r)
	if m.ofProgram(r) {
		resp.Message.Content = fmt.Sprintf("%sby %s, the %d. time", answerTo(digest(r.Messages)), m.proc.name, nth)
	}
	// The six faults share the seed's rate equally.
	part := m.world.cfg.serverFaults / 6
	if e := m.world.refused(); e != nil {
		e.Endpoint = m.Endpoint()
		return nil, m.late(ctx, quick, e)
	}
	switch {
	case away:
		return nil, m.late(ctx, quick, fail(backend.Transient, 0, "connection refused"))
	case fate < part:
		return nil, m.late(ctx, quick, fail(backend.RateLimited, later, "429"))
	case fate < 2*part:
		return nil, m.late(ctx, quick, fail(backend.Overloaded, 0, "503"))
	case fate < 3*part:
		return nil, m.late(ctx, took, fail(backend.Transient, 0, "500"))
	case fate < 4*part:
		m.early(o, resp)
		return nil, m.late(ctx, took, fail(backend.Transient, 0, "the stream was cut"))
	case fate < 5*part:
		took = 24 * time.Hour // until the agent's timeout
	case fate < 6*part:
		took += m.world.cfg.lease * 2
	}
	told := false
	if (len(resp.Message.ToolCalls) > 0 || m.ofProgram(r)) && likely(draw, 0.3) {
		if err := sleep.For(ctx, took/2); err != nil {
			return nil, fmt.Errorf("generate: %w", err)
		}
		m.early(o, resp)
		told = true
		took -= took / 2
	}
	if err := sleep.For(ctx, took); err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	if m.ofProgram(r) && !told {
		o.FirstToken()
	}
	m.world.conduct.asks(m.proc, r.ID, true)
	return resp, nil
}

// ofProgram reports whether a program makes the call. A control call of the worker has one message.
func (m *model) ofProgram(r *backend.Request) bool {
	return len(r.Messages) > 1 && m.world.cfg.programs && strings.HasPrefix(r.ID, string(batchID)+"/")
}

// answerTo is the beginning of the answer to a program's call. The rest is different each time, so that no run can make the answer to a
// lost call again.
func answerTo(call string) string { return "answer to " + call + ", " }

// early sends the text of a program's answer, or else the first tool call, to the observer before the stream ends.
func (m *model) early(o backend.Observer, resp *backend.Response) {
	if text := resp.Message.Content; o.Text != nil && o.FirstToken != nil && strings.HasPrefix(text, answerTo("")[:9]) {
		o.FirstToken()
		o.Text(text[:len(text)-1])
	}
	if o.ToolCall != nil && len(resp.Message.ToolCalls) > 0 {
		o.ToolCall(0, resp.Message.ToolCalls[0])
	}
}

// answer returns the model's answer for this turn of this job, or of this conversation of a program. It is the same in every attempt.
func (m *model) answer(r *backend.Request) *backend.Response {
	turn := 1
	for _, msg := range r.Messages {
		if msg.Role == backend.RoleAssistant {
			turn++
		}
	}
	cfg, talk, part := m.world.cfg, r.Hints.Session, 0
	if m.ofProgram(r) {
		talk = digest(r.Messages[:2]) // sessions have their names by order
		_, _ = fmt.Sscanf(talkOf(r), "Part %d.", &part)
	}
	job := m.world.chance.on("job", talk)
	turns := 1 + job.IntN(cfg.turns)
	fails := likely(job, cfg.failing)
	draw := m.world.chance.on("answer", talk, strconv.Itoa(turn))
	out := &backend.Response{Model: "m", Usage: backend.Usage{
		PromptTokens: int64(50 * turn), CachedTokens: int64(40*turn - 40), CompletionTokens: int64(1 + draw.IntN(50)),
	}}
	out.Message.Role = backend.RoleAssistant
	switch {
	case strings.Contains(r.Messages[len(r.Messages)-1].Content, "Sum up these "):
		out.Finish, out.Message.Content = backend.FinishStop, sumUpShown(r.Messages[len(r.Messages)-1].Content)
	case turn < turns && r.ToolChoice == backend.ToolChoiceAuto:
		out.Finish = backend.FinishToolCalls
		for i := range 1 + draw.IntN(3) {
			name, at := "probe", draw.IntN(8)+8*part // two conversations of a program never wait for the same execution
			if likely(draw, 0.25) {
				name = "effect"
			}
			out.Message.ToolCalls = append(out.Message.ToolCalls, backend.ToolCall{
				ID: fmt.Sprintf("call_%d_%d", turn, i), Name: name, Arguments: fmt.Sprintf(`{"at":%d}`, at),
			})
		}
	case fails:
		out.Finish, out.Message.Content = backend.FinishLength, "and so on and"
	default:
		out.Finish, out.Message.Content = backend.FinishStop, fmt.Sprintf("seen in %d turns", turn)
	}
	return out
}

// sumUpShown answers the call of a reduction. Each line of its prompt is a result.
func sumUpShown(prompt string) string {
	var out []string
	for line := range strings.Lines(prompt) {
		var shown struct {
			Index  *int64       `json:"index"`
			Status batch.Status `json:"status"`
		}
		if err := json.Unmarshal([]byte(line), &shown); err == nil && shown.Index != nil {
			out = append(out, sumUpOf(map[int64]batch.Status{*shown.Index: shown.Status}))
		}
	}
	return strings.Join(out, " ")
}

// late returns err after a delay.
func (m *model) late(ctx context.Context, d time.Duration, err error) error {
	if e := sleep.For(ctx, d); e != nil {
		return fmt.Errorf("generate: %w", e)
	}
	return err
}

// draw returns the random source of a call, whether the server is away, and the number of the call among equal ones.
func (m *model) draw(parts ...string) (r *rand.Rand, away bool, nth int) {
	m.proc.net.mu.Lock()
	defer m.proc.net.mu.Unlock()
	key := fmt.Sprint(parts)
	m.served[key]++
	return m.world.chance.on(append(parts, m.proc.name, strconv.Itoa(m.served[key]))...), m.away, m.served[key]
}

func (m *model) enter(n int) {
	m.proc.net.mu.Lock()
	defer m.proc.net.mu.Unlock()
	m.calls += n
}

// inFlight returns the number of calls in flight.
func (m *model) inFlight() int {
	m.proc.net.mu.Lock()
	defer m.proc.net.mu.Unlock()
	return m.calls
}

func (m *model) setAway(away bool) {
	m.proc.net.mu.Lock()
	defer m.proc.net.mu.Unlock()
	m.away = away
}

// Models implements [backend.Backend].
func (m *model) Models(ctx context.Context) ([]backend.Model, error) {
	return []backend.Model{{ID: "m", MaxModelLen: 100_000}}, m.Ready(ctx)
}

// Ready implements [backend.Backend].
func (m *model) Ready(ctx context.Context) error {
	draw, away, _ := m.draw("ready")
	if err := sleep.For(ctx, between(draw, 100*time.Microsecond, 5*time.Millisecond)); err != nil {
		return err
	}
	if away {
		return errors.New("connection refused")
	}
	return nil
}

// Capabilities implements [backend.Backend].
func (m *model) Capabilities() backend.Capabilities { return backend.Capabilities{Name: "sim"} }

// Endpoint implements [backend.Backend].
func (m *model) Endpoint() string { return "sim://" + m.proc.name }

// Close implements [backend.Backend].
func (m *model) Close() error { return nil }

// talkOf returns the part of a program's prompt that distinguishes its conversations.
func talkOf(r *backend.Request) string {
	prompt := r.Messages[1].Content
	return prompt[max(0, strings.LastIndex(prompt, "Part ")):]
}

func digest(messages []backend.Message) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%v", messages)
	return strconv.FormatUint(h.Sum64(), 16)
}
