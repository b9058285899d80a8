package shared

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// The first request after an outage may request a lead, so the grace must hold before any reply.
func TestLongOutageDelaysNewLeads(t *testing.T) {
	t.Parallel()
	const lease = 6 * time.Second
	cases := []struct {
		name   string
		noted  bool          // whether a request failed
		silent time.Duration // since the last success
		may    bool
	}{
		{"nothing failed", false, time.Second, true},
		{"a short outage", true, lease / 2, true},
		{"an outage long enough for a lead to expire", true, lease/2 + time.Millisecond, false},
		{"silence without an error, as on a half-open connection", false, lease/2 + time.Millisecond, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLink(lease, slog.New(slog.DiscardHandler))
				if c.noted {
					l.failed(errors.New("refused"))
				}
				time.Sleep(c.silent)
				assert.Equal(t, c.may, l.mayLead(), "before the first reply")
				l.worked()
				assert.Equal(t, c.may, l.mayLead(), "after it")
				for range (lease/2 + redial) / inboxBlock {
					time.Sleep(inboxBlock)
					l.worked()
				}
				assert.True(t, l.mayLead(), "after the grace")
			})
		})
	}
}
