package worker

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestOneCauseIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		var lost flood
		for job := range 1000 {
			lost.warn(log, "lease was lost", "job", job)
		}
		assert.Equal(t, 1, strings.Count(out.String(), "\n"), out.String())
		assert.Contains(t, out.String(), "job=0")
		time.Sleep(floodEvery)
		lost.warn(log, "lease was lost", "job", 1000)
		assert.Contains(t, out.String(), "job=1000 other_jobs_before=999\n")
		time.Sleep(floodEvery)
		lost.warn(log, "lease was lost", "job", 1001)
		assert.True(t, strings.HasSuffix(out.String(), "job=1001\n"), out.String())
	})
}
