package endpoint

import (
	"log/slog"
	"sync"
	"time"
)

// longWait is the shortest wait that is logged.
const longWait = time.Minute

// LongWaits logs long waits that a server requests, each once. The zero value is ready for use. Safe for concurrent use.
type LongWaits struct {
	mu    sync.Mutex
	until time.Time // the end of the last logged wait; guarded by mu
}

// Tell logs a wait of a minute or more, unless it already logged a wait with about the same end.
func (w *LongWaits) Tell(log *slog.Logger, endpoint string, wait time.Duration, now time.Time) {
	if wait < longWait {
		return
	}
	until := now.Add(wait)
	w.mu.Lock()
	news := until.Sub(w.until) >= longWait
	if news {
		w.until = until
	}
	w.mu.Unlock()
	if news {
		log.Warn("the server requests a wait; its jobs continue after it", "endpoint", endpoint, "wait", wait.Round(time.Second), "until", until.UTC().Format(time.RFC3339))
	}
}
