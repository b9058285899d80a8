package config

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// LevelBySignal sets the level to debug on SIGUSR1, and back to its current value on SIGUSR2, until stop is called. It logs
// each change at any level. It uses signals and not an HTTP address, because a signal needs no listener, and its sender
// could also end the process.
func LevelBySignal(log *slog.Logger, level *slog.LevelVar) (stop func()) {
	usual := level.Level()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	done := make(chan struct{})
	var loop sync.WaitGroup
	loop.Go(func() {
		for {
			select {
			case s := <-signals:
				to := usual
				if s == syscall.SIGUSR1 {
					to = slog.LevelDebug
				}
				level.Set(to)
				log.Log(context.Background(), max(to, slog.LevelInfo), "log level changed", "now", to.String(), "by", s.String())
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(done)
		loop.Wait()
	}
}
