package config

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// LevelBySignal makes SIGUSR1 set the level to debug and SIGUSR2 to what it is now, until stop is called. The log says so
// each time, whatever its level. A signal and no address, because it needs no listener and whoever may send it may end the
// process as well.
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
