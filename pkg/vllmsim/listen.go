package vllmsim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/loopback"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 5 * time.Second // like the real server; clients must close idle connections sooner
	stopTimeout       = 2 * time.Second
)

// ErrRemoteAddress is returned for a listen address that other machines could reach.
var ErrRemoteAddress = errors.New("the simulated server has no real access control, so it listens on loopback addresses only; pass --allow-remote to listen elsewhere")

// Start listens on addr ("127.0.0.1:0" takes a free port) and serves until stop is called or ctx is done. It returns the base
// URL. stop waits up to 2 s for requests in flight, closes the remaining ones, and returns when the listener is closed. It may be
// called more than once.
func (s *Server) Start(ctx context.Context, addr string) (url string, stop func() error, err error) {
	if !s.cfg.AllowRemote && !isLoopback(addr) {
		return "", nil, fmt.Errorf("listen on %s: %w", addr, ErrRemoteAddress)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()

	shutdown := sync.OnceValue(func() error {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err := srv.Shutdown(grace)
		if errors.Is(err, context.DeadlineExceeded) {
			err = srv.Close()
		}
		if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	})
	detach := context.AfterFunc(ctx, func() { _ = shutdown() }) // the caller of stop gets the error
	return "http://" + l.Addr().String(), func() error { detach(); return shutdown() }, nil
}

// isLoopback reports whether only this machine can reach an address.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	return loopback.Host(host)
}
