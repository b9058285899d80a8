// Package gateway serves the model calls and the tools of jobs to their programs, over HTTP on this machine.
//
// Each job has a URL of its own with a secret in it, for as long as its attempt lives:
//
//	http://127.0.0.1:PORT/s/SECRET/v1/…   the APIs of package modelapi
//	http://127.0.0.1:PORT/s/SECRET/mcp    the batch's tools, over MCP
//
// The secret is the only right that a program needs and has. A request with another secret, or after the end of the attempt, is
// refused, and tells nothing about other jobs. Programs in a sandbox without a network use a Unix socket with the same paths.
package gateway

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/internal/modelapi"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	// headerTime limits how long a client may take for the header of a request. A program with many agents, or on a busy machine,
	// may connect long before it writes.
	headerTime = time.Minute
	// maxRequests limits the requests of one job that are served at once.
	maxRequests = 256
	// maxHeader limits the header of a request, in bytes.
	maxHeader = 64 << 10
)

// Calls makes the calls of one job's program. [agent.ProgramCalls] implements it.
type Calls interface {
	modelapi.Caller
	Tools() []backend.Tool
	CallTool(ctx context.Context, name string, arguments json.RawMessage) (toolpool.Result, error)
}

// Gateway is the server of this process. Safe for concurrent use.
type Gateway struct {
	address string // of the TCP port
	socket  string // path of the Unix socket
	server  *http.Server
	serving sync.WaitGroup
	log     *slog.Logger

	mu   sync.Mutex
	jobs map[string]*job // guarded by mu; by secret
}

// job is one open job.
type job struct {
	handler http.Handler
	ctx     context.Context //nolint:containedctx // ends all requests of the job with it
	cancel  context.CancelFunc
	room    chan struct{} // holds one value per request
	serving sync.WaitGroup
}

// Open listens on a free port of the loopback interface, and on a Unix socket at the path. log may be nil.
func Open(socket string, log *slog.Logger) (*Gateway, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for programs: %w", err)
	}
	local, err := net.Listen("unix", socket)
	if err == nil {
		err = os.Chmod(socket, 0o600)
	}
	if err != nil {
		_ = port.Close()
		return nil, fmt.Errorf("listen for programs in a sandbox: %w", err)
	}
	g := &Gateway{address: port.Addr().String(), socket: socket, log: log, jobs: map[string]*job{}}
	g.server = &http.Server{
		Handler: g, ReadHeaderTimeout: headerTime, MaxHeaderBytes: maxHeader, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	for _, l := range []net.Listener{port, local} {
		g.serving.Go(func() { _ = g.server.Serve(l) }) // ends with Close
	}
	return g, nil
}

// Socket returns the path of the Unix socket.
func (g *Gateway) Socket() string { return g.socket }

// Close ends all jobs and stops the server.
func (g *Gateway) Close() error {
	g.mu.Lock()
	for _, j := range g.jobs {
		j.cancel()
	}
	g.mu.Unlock()
	err := g.server.Close()
	g.serving.Wait()
	return err
}

// Job opens a job. url is the root of its paths. end closes them, ends the requests under way and waits for them.
func (g *Gateway) Job(calls Calls) (url string, end func()) {
	secret := strings.ToLower(rand.Text())
	ctx, cancel := context.WithCancel(context.Background())
	j := &job{handler: handler(calls), ctx: ctx, cancel: cancel, room: make(chan struct{}, maxRequests)}
	g.mu.Lock()
	g.jobs[secret] = j
	g.mu.Unlock()
	return "http://" + g.address + "/s/" + secret, func() {
		g.mu.Lock()
		delete(g.jobs, secret)
		g.mu.Unlock()
		cancel()
		j.serving.Wait()
	}
}

func handler(calls Calls) http.Handler {
	mux := http.NewServeMux()
	tools := newTools(calls)
	mux.Handle("/mcp", tools)
	mux.Handle("/mcp/", tools)
	mux.Handle("/", modelapi.New(calls))
	return mux
}

// ServeHTTP implements [http.Handler].
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	j, path, err := g.begin(r)
	if err != nil {
		refuse(w, err)
		return
	}
	defer j.serving.Done()
	select {
	case j.room <- struct{}{}:
		defer func() { <-j.room }()
	default:
		w.Header().Set("Retry-After", "1")
		refuse(w, errBusy)
		return
	}
	// A page in a browser of this machine must not reach a job, even if it learns the secret.
	if r.Header.Get("Origin") != "" {
		refuse(w, errOrigin)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	inner := r.Clone(ctx)
	c := newClient(w, inner)
	stop := context.AfterFunc(j.ctx, func() { cancel(errEnded); c.hurry() })
	defer func() {
		if !stop() {
			<-c.hurried
			c.end()
		}
	}()
	inner.URL.Path, inner.URL.RawPath = path, ""
	j.handler.ServeHTTP(c, inner)
}

var (
	errEnded  = errors.New("no job with this URL is running here: its attempt has ended, or the URL is wrong")
	errBusy   = fmt.Errorf("the job has %d requests under way; wait for one of them", maxRequests)
	errOrigin = errors.New("pages of a browser may not use this URL")
)

// begin finds the job of a request. The caller calls serving.Done of the job when the request has ended.
func (g *Gateway) begin(r *http.Request) (*job, string, error) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/s/")
	secret, path, _ := strings.Cut(rest, "/")
	g.mu.Lock()
	defer g.mu.Unlock()
	j := g.jobs[secret]
	if !ok || j == nil {
		return nil, "", errEnded
	}
	j.serving.Add(1)
	return j, "/" + path, nil
}

// refuse writes an error in a form that clients of both APIs show.
func refuse(w http.ResponseWriter, err error) {
	status, kind := http.StatusUnauthorized, "authentication_error"
	if errors.Is(err, errBusy) {
		status, kind = http.StatusTooManyRequests, "rate_limit_error"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("x-should-retry", fmt.Sprint(errors.Is(err, errBusy)))
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // a client that is gone gets nothing
		"type": "error", "error": map[string]string{"type": kind, "message": err.Error()},
	})
}
