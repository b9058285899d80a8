package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/batchagent/batchagent/internal/calibrate"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/backend"
)

// lookTimeout limits the check of the server before a start.
const lookTimeout = 3 * time.Second

// findCeiling measures a server, prints each level when it is measured, and saves the result for later starts.
func findCeiling(ctx context.Context, back backend.Backend, w io.Writer) error {
	file, err := calibrate.DefaultFile()
	if err != nil {
		return &usageError{fmt.Errorf("--calibrate: %w", err)}
	}
	server, err := calibrate.Identify(ctx, back)
	if err != nil {
		return fmt.Errorf("--calibrate: %w", err)
	}
	w = human.VisibleWriter(w) // the server chose the name of the model
	fmt.Fprintf(w, "calibrating %s, model %s: takes up to a few minutes\n\n%9s %9s %13s %9s %7s\n",
		server.Endpoint, server.Model, "IN FLIGHT", "TOKENS/S", "TTFT, MEDIAN", "CALLS", "SECONDS")
	levels, err := calibrate.Measure(ctx, back, calibrate.Limits{}, func(l calibrate.Level) {
		fmt.Fprintf(w, "%9d %9.0f %13s %9d %7.1f\n", l.Inflight, l.Goodput, l.TTFT.Round(time.Millisecond), l.Calls, l.Took.Seconds())
	})
	switch {
	case errors.Is(err, calibrate.ErrPaid):
		return &usageError{fmt.Errorf("--calibrate: %w", err)}
	case err != nil:
		return fmt.Errorf("--calibrate: nothing was saved: %w", err)
	}
	found := calibrate.Best(server, levels, time.Now())
	if err := file.Save(found); err != nil {
		return fmt.Errorf("--calibrate found --max-inflight %d: %w", found.MaxInflight, err)
	}
	fmt.Fprintf(w, "\n%d calls in flight are enough. Workers that start for this server use that limit from now on, unless --max-inflight is given.\nSaved in %s\n",
		found.MaxInflight, file)
	return nil
}

// ceiling returns the saved number of calls in flight for a server. It returns 0 if none is saved or the server has
// changed.
func ceiling(ctx context.Context, back backend.Backend, log *slog.Logger) int {
	file, err := calibrate.DefaultFile()
	if err != nil {
		return 0 // without a home directory nothing is saved
	}
	found, ok, err := file.Of(back.Endpoint())
	if err != nil {
		log.Warn("the result of --calibrate is not used", "error", err)
		return 0
	}
	if !ok {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	switch server, err := calibrate.Identify(ctx, back); {
	case err != nil:
		log.Info("max-inflight is from --calibrate; the server does not answer yet, so it may have changed",
			"max_inflight", found.MaxInflight, "found", found.At)
	case server != found.Server:
		log.Warn("the result of --calibrate is not used: the server has changed; calibrate it again",
			"then", fmt.Sprintf("%+v", found.Server), "now", fmt.Sprintf("%+v", server))
		return 0
	default:
		log.Info("max-inflight is from --calibrate", "max_inflight", found.MaxInflight, "found", found.At)
	}
	return found.MaxInflight
}
