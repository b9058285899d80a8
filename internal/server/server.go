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

	"github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Config says what to serve, and to whom.
type Config struct {
	Store *statestore.Store
	// Token is what clients must show. Empty means that none is needed: the server then answers only to requests that name it by a
	// loopback name.
	Token string
	// MaxBody bounds one submission, in bytes. Defaults to 1 GiB.
	MaxBody int64
	// Streams bounds event streams, and reads of results, that are open at once. Defaults to 64.
	Streams int
	// Submissions bounds those under way at once. Defaults to 4.
	Submissions int
	// Rate is how many requests per second one client may make on average, with twice as many at once. Defaults to 50.
	Rate float64
	// Watch is how often active batches are looked at. Defaults to 2 s.
	Watch time.Duration
	// Patience is how long a reader may take nothing before it is given up. Defaults to 30 s.
	Patience time.Duration
	// Logger gets one line per request. Defaults to none.
	Logger *slog.Logger
}

const (
	// shutdownGrace is how long requests may go on after the server was told to stop.
	shutdownGrace = 10 * time.Second
	// uploadsPer is how many bodies may be received for each submission that may be under way.
	uploadsPer = 16
	// maxCancels bounds the cancellations that go on after their request was answered.
	maxCancels = 16
	// clientsKept bounds how many clients' rates are remembered.
	clientsKept = 4096
	// digestsKept bounds the batches whose results are summed up for show.
	digestsKept = 64
)

// errStopping is why a stream ends when the server does.
var errStopping = errors.New("the server is shutting down")

// Server is the API and the dashboard over one Redis. It is safe for concurrent use. Close it.
type Server struct {
	cfg   Config
	store *statestore.Store
	log   *slog.Logger

	ctx        context.Context // ends when the server begins to stop: streams end
	stop       context.CancelCauseFunc
	work       context.Context // ends when it gives up on what is under way: submissions and cancellations end
	abandon    context.CancelCauseFunc
	background sync.WaitGroup

	streams     chan struct{} // one token per open stream
	uploads     chan struct{} // one token per body that is received
	submissions chan struct{}
	cancels     chan struct{}
	clients     *lru.Cache[string, *rate.Limiter]
	logins      *rate.Limiter // of all clients together: nobody guesses a token
	watcher     *watcher
	digests     *lru.Cache[batch.ID, *digest]
	handler     http.Handler
	openapi     []byte
}

// New makes a server and starts to watch the active batches.
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
		watcher: newWatcher(cfg.Store),
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
	s.background.Go(func() { s.watcher.run(s.ctx, cfg.Watch) })
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Close ends all streams and what goes on in the background, and returns when it has ended.
func (s *Server) Close() {
	s.stop(errStopping)
	s.abandon(errStopping)
	s.background.Wait()
}

// Listen opens the address to serve on. Unless it is guarded, by a token or by what the operator vouches for, it must be one that only
// this machine can reach.
func Listen(ctx context.Context, addr string, guarded bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w; an address looks like 127.0.0.1:8080", err)
	}
	if !guarded && !loopback(host) {
		return nil, fmt.Errorf("--listen: %s can be reached from other machines, and there is no token: set BATCHAGENT_API_TOKEN or --token-file, or listen on 127.0.0.1 "+
			"(in a container whose port is published on 127.0.0.1 alone: --without-token)", addr)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	return l, nil
}

// loopback reports whether a host without its port is this machine's alone.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Serve answers requests on l until ctx ends, then lets those under way end, and closes the server.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(l) }()
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

// take gets a token of a bounded kind of work without waiting.
func take(tokens chan struct{}) (give func(), ok bool) {
	select {
	case tokens <- struct{}{}:
		return func() { <-tokens }, true
	default:
		return nil, false
	}
}
