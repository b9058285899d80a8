package calibrate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

// The size of a measured call. It is about as heavy as an agent's first turn.
const (
	promptWords  = 400 // two calls share only the chat template, so the prefix cache does not help
	answerTokens = 64
	rounds       = 3 // measured calls per call in flight
)

// Limits are the limits of a measurement.
type Limits struct {
	Most   int           // calls in flight. Defaults to 256.
	Level  time.Duration // duration of one level; calls that ended by then are measured. Defaults to a minute.
	Total  time.Duration // no level starts after it. Defaults to 3 minutes.
	Tokens int64         // no level starts after so many tokens, prompts and answers together. Defaults to 2,000,000.
}

func (l Limits) withDefaults() Limits {
	if l.Most <= 0 {
		l.Most = 256
	}
	if l.Level <= 0 {
		l.Level = time.Minute
	}
	if l.Total <= 0 {
		l.Total = 3 * time.Minute
	}
	if l.Tokens <= 0 {
		l.Tokens = 2_000_000
	}
	return l
}

// The reasons why Measure does not measure a server.
var (
	ErrPaid = errors.New("workers find this provider's limit from refusals and rate-limit headers; " +
		"calibration is for servers of your own")
	ErrBusy = errors.New("the server is busy with other clients' calls; calibrate it while it is idle")
)

// Level is one measured level and its counts.
type Level struct {
	scheduler.Level
	Calls  int           // measured calls
	Tokens int64         // new tokens of the measured calls
	Took   time.Duration // time in which these ended
	used   int64         // tokens of all calls
}

// Measurer is the part of a backend that Measure uses.
type Measurer interface {
	Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error)
	Capabilities() backend.Capabilities
}

// Measure raises the number of calls in flight until more calls bring no more goodput, or a limit is reached. It calls each
// after every level. It returns the measured levels. It returns an error if it measured none, or if a call failed: then the
// caller should discard the levels, because the server may be failing under the load.
func Measure(ctx context.Context, server Measurer, limits Limits, each func(Level)) ([]Level, error) {
	limits = limits.withDefaults()
	if server.Capabilities().StartConcurrent > 0 {
		return nil, ErrPaid
	}
	if err := idle(ctx, server); err != nil {
		return nil, err
	}
	m := measurement{server: server, limits: limits}
	// The first call of a server may compile or load something.
	if _, err := m.call(ctx); err != nil {
		return nil, fmt.Errorf("first call: %w", err)
	}
	began, used := time.Now(), int64(0)
	var out []Level
	var known []scheduler.Level
	for n := scheduler.NextLevel(nil, limits.Most); n > 0; n = scheduler.NextLevel(known, limits.Most) {
		if time.Since(began) >= limits.Total || used >= limits.Tokens {
			break
		}
		l, err := m.level(ctx, n)
		if errors.Is(err, errTooSlow) && len(out) > 0 {
			break
		}
		if err != nil {
			return out, fmt.Errorf("%d calls in flight: %w", n, err)
		}
		used += l.used
		out, known = append(out, l), append(known, l.Level)
		each(l)
	}
	return out, nil
}

// idle returns ErrBusy if the server reports other work.
func idle(ctx context.Context, server Measurer) error {
	reporter, ok := server.(backend.LoadReporter)
	if !ok {
		return nil
	}
	load, err := reporter.Load(ctx)
	if err != nil {
		return nil //nolint:nilerr // a server that does not report its load can be measured too
	}
	if load.Running > 0 || load.Waiting > 0 {
		return fmt.Errorf("%w (%d calls run there, %d wait)", ErrBusy, max(load.Running, 0), max(load.Waiting, 0))
	}
	return nil
}

type measurement struct {
	server Measurer
	limits Limits
}

var errTooSlow = errors.New("too few calls ended in the time of a level; the server is too slow to be measured")

// ended is an ended call.
type ended struct {
	at   time.Time
	resp *backend.Response
	err  error
}

// level keeps n calls in flight. The first n that end are not measured, because the server is filling up until then.
func (m *measurement) level(ctx context.Context, n int) (Level, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	calls := make(chan ended)
	var callers sync.WaitGroup
	for range n {
		callers.Go(func() {
			for {
				resp, err := m.call(ctx)
				select {
				case calls <- ended{time.Now(), resp, err}:
				case <-ctx.Done():
				}
				if err != nil || ctx.Err() != nil {
					return
				}
			}
		})
	}
	defer callers.Wait()
	defer cancel()
	end := time.NewTimer(m.limits.Level)
	defer end.Stop()
	var all []ended
	for len(all) < (1+rounds)*n {
		select {
		case c := <-calls:
			if c.err != nil {
				return Level{}, c.err
			}
			all = append(all, c)
			continue
		case <-end.C:
		case <-ctx.Done():
			return Level{}, context.Cause(ctx)
		}
		break
	}
	if len(all) < 2*n { // calls that start together end together, so less than a round is meaningless
		return Level{}, errTooSlow
	}
	return levelOf(n, all), nil
}

// levelOf computes a level from more than n calls in the order of their ends.
func levelOf(n int, all []ended) Level {
	l := Level{Level: scheduler.Level{Inflight: n}, Calls: len(all) - n, Took: all[len(all)-1].at.Sub(all[n-1].at)}
	var waits []time.Duration
	for i, c := range all {
		u := c.resp.Usage
		l.used += u.PromptTokens + u.CompletionTokens
		if i >= n {
			l.Tokens += u.PromptTokens - max(u.CachedTokens, 0) + u.CompletionTokens
			waits = append(waits, c.resp.TTFT)
		}
	}
	slices.Sort(waits)
	l.TTFT = waits[len(waits)/2]
	l.Goodput = float64(l.Tokens) / max(l.Took.Seconds(), 1e-3)
	return l
}

// call makes one call with a prompt that is new to the server.
func (m *measurement) call(ctx context.Context) (*backend.Response, error) {
	var b strings.Builder
	for range promptWords {
		fmt.Fprintf(&b, "%s ", words[rand.IntN(len(words))]) //nolint:gosec // unlike any other, not secret
	}
	return m.server.Generate(ctx, &backend.Request{
		Messages: []backend.Message{{Role: backend.RoleUser, Content: b.String() +
			"\nWrite a story of several hundred words in which these words appear in this order."}},
		Sampling: backend.Sampling{MaxTokens: answerTokens},
	}, backend.Observer{})
}

// words have about one token each.
var words = strings.Fields(`apple river stone cloud bread light paper house green music
	table water glass horse night field metal train ocean garden winter summer window silver copper bridge forest engine letter
	market mirror orange pencil planet pocket rabbit school shadow spring street ticket valley yellow anchor basket bottle button
	camera castle cotton desert dragon eagle family farmer finger flower`)
