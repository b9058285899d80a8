package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/loopback"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Config configures a Server.
type Config struct {
	Store *statestore.Store
	// Token is the token that clients must send. If it is empty, the server accepts every client but answers only requests for a loopback host name.
	Token string
	// MaxBody limits the size of one submission in bytes. Defaults to 1 GiB.
	MaxBody int64
	// Streams limits the number of open event streams and reads of results. Defaults to 64.
	Streams int
	// Submissions limits the number of concurrent submissions. Defaults to 4.
	Submissions int
	// Rate limits the requests per second of one client on average. Bursts may have twice as many. Defaults to 50.
	Rate float64
	// Watch is the interval at which active batches are read. Defaults to 2 s.
	Watch time.Duration
	// Patience is how long a write may block before the reader is disconnected. Defaults to 30 s.
	Patience time.Duration
	// Logger receives one line per request. Defaults to no log.
	Logger *slog.Logger
}

const (
	// shutdownGrace is how long requests may continue after the server started to stop.
	shutdownGrace = 10 * time.Second
	// uploadsPer is the number of bodies received at the same time, per concurrent submission.
	uploadsPer = 16
	// maxConnections limits the open connections. More wait in the operating system.
	maxConnections = 1024
	// maxCancels limits the cancellations that continue in the background.
	maxCancels = 16
	// clientsKept limits the number of clients with a recorded rate.
	clientsKept = 4096
	// digestsKept limits the number of batches with sums for the dashboard.
	digestsKept = 64
)

// errStopping is the cause of streams and requests that end with the server.
var errStopping = errors.New("the server is shutting down")

// Server is the API and the dashboard over one Redis. It is safe for concurrent use. Close it.
type Server struct {
	cfg   Config
	store *statestore.Store
	log   *slog.Logger

	ctx        context.Context // ends when the server starts to stop; then streams end
	stop       context.CancelCauseFunc
	work       context.Context // ends at the end of the shutdown; then submissions and cancellations end
	abandon    context.CancelCauseFunc
	background sync.WaitGroup

	streams     chan struct{} // one token per open stream
	uploads     chan struct{} // one token per body in transfer
	submissions chan struct{}
	cancels     chan struct{}
	clients     *lru.Cache[string, *rate.Limiter]
	logins      *rate.Limiter // of all clients together, against guessing
	courses     *courses
	digests     *lru.Cache[batch.ID, *digest]
	handler     http.Handler
	openapi     []byte
}

// New returns a server and starts to record the progress of the active batches.
func New(cfg Config) (*Server, error) {
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 1 << 30
	}
	if cfg.Streams == 0 {
		cfg.Streams = 64
	}
	if cfg.Submissions == 0 {
		cfg.Submissions = 4
	}
	if cfg.Rate == 0 {
		cfg.Rate = 50
	}
	if cfg.Watch == 0 {
		cfg.Watch = 2 * time.Second
	}
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, store: cfg.Store, log: cfg.Logger,
		streams: make(chan struct{}, cfg.Streams), submissions: make(chan struct{}, cfg.Submissions),
		uploads: make(chan struct{}, uploadsPer*cfg.Submissions),
		cancels: make(chan struct{}, maxCancels), logins: rate.NewLimiter(1, 10),
		courses: newCourses(cfg.Store),
	}
	var err error
	if s.clients, err = lru.New[string, *rate.Limiter](clientsKept); err != nil {
		return nil, err
	}
	if s.digests, err = lru.New[batch.ID, *digest](digestsKept); err != nil {
		return nil, err
	}
	if s.openapi, err = document(s.routes()); err != nil {
		return nil, fmt.Errorf("make the OpenAPI document: %w", err)
	}
	s.handler = s.guarded(s.mux())
	s.ctx, s.stop = context.WithCancelCause(context.Background())
	s.work, s.abandon = context.WithCancelCause(context.Background())
	s.background.Go(func() { s.courses.record(s.ctx, cfg.Watch) })
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Close ends all streams and background work, and returns when they have ended.
func (s *Server) Close() {
	s.stop(errStopping)
	s.abandon(errStopping)
	s.background.Wait()
}

// Listen opens the address to serve on. Unless guarded is set, the address must be a loopback address. A token, or the
// operator's --without-token, guards the server.
func Listen(ctx context.Context, addr string, guarded bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w; an address looks like 127.0.0.1:8080", err)
	}
	if !guarded && !loopback.Host(host) {
		return nil, fmt.Errorf("--listen: %s can be reached from other machines, and no token is set: set BATCHAGENT_API_TOKEN or --token-file, or listen on 127.0.0.1 "+
			"(in a container with a port published on 127.0.0.1 only: --without-token)", addr)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	return l, nil
}

// Serve answers requests on l until ctx ends. It then waits up to shutdownGrace for running requests, and closes the
// server.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(netutil.LimitListener(l, maxConnections)) }()
	select {
	case err := <-ended:
		s.Close()
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	s.stop(errStopping)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := h.Shutdown(grace); err != nil {
		_ = h.Close()
	}
	<-ended
	s.Close()
	return nil
}

// take takes a token of a limited resource without waiting.
func take(tokens chan struct{}) (give func(), ok bool) {
	select {
	case tokens <- struct{}{}:
		return func() { <-tokens }, true
	default:
		return nil, false
	}
}
