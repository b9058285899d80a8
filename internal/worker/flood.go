package worker

import (
	"log/slog"
	"sync"
	"time"
)

// floodEvery is the time between two warnings of one kind.
const floodEvery = 10 * time.Second

// flood logs a warning that all jobs of a worker may cause at once, as when Redis cannot be reached. Safe for concurrent use.
type flood struct {
	mu     sync.Mutex
	last   time.Time // guarded by mu; of the last warning
	others int       // guarded by mu; jobs since then
}

// warn logs the warning of one job, with the number of jobs that caused the same one since the last that was logged. It logs at most one
// every floodEvery, and the others at level debug.
func (f *flood) warn(log *slog.Logger, message string, args ...any) {
	f.mu.Lock()
	now := time.Now()
	loud := f.last.IsZero() || now.Sub(f.last) >= floodEvery
	if loud {
		if f.others > 0 {
			args = append(args, "other_jobs_before", f.others)
		}
		f.last, f.others = now, 0
	} else {
		f.others++
	}
	f.mu.Unlock()
	if loud {
		log.Warn(message, args...)
	} else {
		log.Debug(message, args...)
	}
}
