package sim

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestHistory checks which histories linearize accepts and which it rejects.
func TestHistory(t *testing.T) {
	t.Parallel()
	a, b := fence{1, 1, "a"}, fence{2, 2, "b"}
	op := func(verb string, f fence, turn int, code int64, asked, known int64) *operation {
		return &operation{verb: verb, fence: f, turn: turn, code: code, told: known != math.MaxInt64, keep: "keep", asked: asked, known: known}
	}
	const never = math.MaxInt64
	for name, c := range map[string]struct {
		ops  []*operation
		fine bool
	}{
		"a job with a takeover": {[]*operation{
			op("claim", a, 0, 0, 1, 2), op("checkpoint", a, 1, 1, 3, 4), op("claim", b, 1, 0, 5, 6), op("checkpoint", a, 2, -1, 7, 8),
			op("finish", b, 0, 1, 9, 10), op("finish", a, 0, 0, 11, 12),
		}, true},
		"two results": {[]*operation{
			op("claim", a, 0, 0, 1, 2), op("claim", b, 0, 0, 3, 4), op("finish", a, 0, 1, 5, 6), op("finish", b, 0, 1, 5, 6),
		}, false},
		"a result without an answer, then a repeated finish": {[]*operation{
			op("claim", a, 0, 0, 1, 2), op("finish", a, 0, 1, 3, never), op("finish", a, 0, 0, 5, 6),
		}, true},
		"a result without an answer that lost to a takeover": {[]*operation{
			op("claim", a, 0, 0, 1, 2), op("finish", a, 0, 1, 3, never), op("claim", b, 0, 0, 5, 6), op("finish", b, 0, 1, 7, 8),
		}, true},
		"an acknowledged result without a commit": {[]*operation{
			op("claim", a, 0, 0, 1, 2), op("claim", b, 0, 0, 3, 4), op("finish", a, 0, 0, 5, 6), op("finish", b, 0, 1, 7, 8),
		}, false},
		"a turn written twice": {[]*operation{
			op("claim", a, 0, 0, 1, 2), op("checkpoint", a, 1, 1, 3, 4), op("checkpoint", a, 1, 1, 5, 6),
		}, false},
		"a lost turn": {[]*operation{
			op("claim", a, 0, 0, 1, 2), op("checkpoint", a, 1, 1, 3, 4), op("claim", b, 0, 0, 5, 6),
		}, false},
		"a renewal after the lease was lost": {[]*operation{
			op("claim", a, 0, 0, 1, 2), op("claim", b, 0, 0, 3, 4), op("renew", a, 0, 1, 5, 6),
		}, false},
		"a renewal during the takeover": {[]*operation{
			op("claim", a, 0, 0, 1, 2), op("claim", b, 0, 0, 3, 6), op("renew", a, 0, 1, 4, 5),
		}, true},
		"a token granted twice": {[]*operation{
			op("claim", b, 0, 0, 1, 2), op("claim", a, 0, 0, 3, 4),
		}, false},
		"a release that spends the attempt": {[]*operation{
			op("claim", a, 0, 0, 1, 2), op("release", a, 0, 1, 3, 4), op("claim", b, 0, 0, 5, 6),
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(nil)
			h.all[0] = c.ops
			cfg := Draw(1, Plain)
			cfg.jobs, cfg.maxAttempts = 1, 5
			err := h.linearize(cfg)
			assert.Equal(t, c.fine, err == nil, "%v", err)
		})
	}
}
