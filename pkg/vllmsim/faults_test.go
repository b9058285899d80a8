package vllmsim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFaultsByHeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := newPipe(t, Config{ForwardMS: 10})
		ask := func(more string, h header) reply { return p.ask(t.Context(), chatBody(user("hello there"), more), h) }
		for _, status := range []int{400, 429, 500, 503, 529} {
			r := ask(streamed, header{headerStatus: strconv.Itoa(status)})
			assert.Equal(t, status, r.status)
			assert.Contains(t, r.raw, fmt.Sprintf(`"code":%d`, status))
			if status == 429 {
				assert.Equal(t, "1", r.header.Get("Retry-After"))
			}
		}
		r := ask(streamed, header{headerCutAfter: "2"})
		assert.Equal(t, 200, r.status)
		require.ErrorIs(t, r.err, io.ErrUnexpectedEOF)
		assert.Equal(t, 2, r.events)
		assert.Empty(t, r.finish)
		r = ask(streamed, header{headerCutAfter: "300b"})
		require.ErrorIs(t, r.err, io.ErrUnexpectedEOF)
		assert.Equal(t, 1, r.events)
		r = ask("", header{headerCutAfter: "100b"})
		require.ErrorIs(t, r.err, io.ErrUnexpectedEOF)
		assert.Len(t, r.raw, 100)

		start := time.Now()
		assert.Equal(t, 200, ask(streamed, header{headerDelay: "500"}).status)
		assert.Equal(t, 510*time.Millisecond, time.Since(start))

		for _, more := range []string{streamed, ""} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			resp, err := p.post(ctx, chatBody(user("hello"), more), header{headerHang: "1"})
			if more == streamed {
				require.NoError(t, err)
				r = read(t, resp)
				require.ErrorIs(t, r.err, context.DeadlineExceeded)
				assert.Equal(t, 1, r.events)
			} else {
				require.ErrorIs(t, err, context.DeadlineExceeded)
			}
			cancel()
			synctest.Wait()
			assert.Equal(t, load{}, s.engine.load())
		}
		for name, value := range map[string]string{headerStatus: "200", headerCutAfter: "x", headerDelay: "-1", headerToolTurns: "-1"} {
			r := ask(streamed, header{name: value})
			assert.Equal(t, 400, r.status)
			assert.Contains(t, r.raw, name)
		}
	})
}

func TestEveryNthPassFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := newPipe(t, Config{ForwardMS: 60, Faults: Faults{Every: 3}})
		var statuses []int
		start := time.Now()
		for i := range 6 {
			more := ""
			if i%2 == 0 {
				more = streamed
			}
			statuses = append(statuses, p.ask(t.Context(), chatBody(user("hello"), more), nil).status)
		}
		assert.Equal(t, []int{200, 200, 500, 200, 200, 500}, statuses)
		assert.Equal(t, 6*60*time.Millisecond, time.Since(start), "a failed pass has its usual duration")
		require.NoError(t, s.SetFaults(Faults{}))
		for range 6 {
			assert.Equal(t, 200, p.ask(t.Context(), chatBody(user("hello"), ""), nil).status)
		}
		require.Error(t, s.SetFaults(Faults{Cut: 2}))
	})
}

// outcome summarizes the effect of a fault on one request.
func outcome(t *testing.T, p *pipe, text, more string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	resp, err := p.post(ctx, chatBody(user(text), more), nil)
	if err != nil {
		return "hang"
	}
	r := read(t, resp)
	switch {
	case r.status != 200:
		return strconv.Itoa(r.status)
	case r.err != nil && ctx.Err() != nil:
		return "hang"
	case r.err != nil:
		return "cut"
	case len(r.calls) > 0 && !json.Valid([]byte(r.calls[0].args)):
		return "malformed"
	case len(r.calls) == 0 && (r.content == "" || r.content[0] != '{'):
		return "invalid"
	default:
		return "ok"
	}
}

func TestFaultRates(t *testing.T) {
	t.Parallel()
	answer := `"response_format":{"type":"json_object"},` + streamed
	call := readFile + "," + streamed
	tests := map[string]struct {
		faults Faults
		more   string
	}{
		"503":       {Faults{Status503: 0.3}, answer},
		"500":       {Faults{Status500: 0.3}, answer},
		"429":       {Faults{Status429: 0.3}, answer},
		"cut":       {Faults{Cut: 0.3}, answer},
		"hang":      {Faults{Hang: 0.3}, answer},
		"malformed": {Faults{Malformed: 0.3}, call},
		"invalid":   {Faults{Invalid: 0.3}, answer},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const n = 200
				run := func(reverse bool) []string {
					_, p := newPipe(t, Config{Seed: 3, Faults: tt.faults})
					out := make([]string, n)
					for i := range n {
						if reverse {
							i = n - 1 - i
						}
						out[i] = outcome(t, p, fmt.Sprint("review file", i, ".go"), tt.more)
					}
					return out
				}
				first := run(false)
				count := map[string]int{}
				for _, o := range first {
					count[o]++
				}
				assert.InDelta(t, 0.3*n, count[name], 25)
				assert.Equal(t, n, count[name]+count["ok"], count)
				assert.Equal(t, first, run(true), "faults do not depend on the order of arrival")
			})
		})
	}
}

func TestFaultDoesNotHitEveryRepetition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, p := newPipe(t, Config{Seed: 1, Faults: Faults{Status500: 0.5}})
		seen := map[int]int{}
		for range 40 {
			seen[p.ask(t.Context(), chatBody(user("the same"), ""), nil).status]++
		}
		assert.Greater(t, seen[200], 8)
		assert.Greater(t, seen[500], 8)
	})
}

func TestSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, p := newPipe(t, Config{ForwardMS: 10, Faults: Faults{Slow: 1, SlowMS: 90}})
		start := time.Now()
		assert.Equal(t, 200, p.ask(t.Context(), chatBody(user("x"), streamed), nil).status)
		assert.Equal(t, 100*time.Millisecond, time.Since(start))
	})
}

func TestConfigErrorsNameEveryField(t *testing.T) {
	t.Parallel()
	_, err := New(Config{ForwardMS: -1, MaxRunning: -2, Faults: Faults{Cut: 1.5, Every: -1}})
	for _, word := range []string{"forward-ms", "max-num-seqs", "fault-cut-rate", "fault-every"} {
		require.ErrorContains(t, err, word)
	}
}
