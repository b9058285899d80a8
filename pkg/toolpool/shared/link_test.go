package shared

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// The first question after an outage may be one for a lead: the grace must hold for it too, before any answer has come.
func TestNobodyLeadsAfterAnOutageInWhichALeadMayHaveLapsed(t *testing.T) {
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
		{"an outage in which a lead may have lapsed", true, lease/2 + time.Millisecond, false},
		{"silence that nobody noticed, as of a connection without its other end", false, lease/2 + time.Millisecond, false},
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
				assert.Equal(t, c.may, l.mayLead(), "before the first answer")
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
