// Package app is the program worker: it claims jobs from Redis and runs them against one inference server.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/hardening"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/programs"
	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/internal/tracing"
	"github.com/batchagent/batchagent/internal/version"
	"github.com/batchagent/batchagent/internal/worker"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/loopback"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/postgres"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/sqlite"
)

// Exit statuses.
const (
	exitOK          = 0
	exitUsage       = 2
	exitUnreachable = 3
)

const description = `A worker claims jobs from Redis, runs them as agents against one inference server, and commits
their results. Start one on each node that has a server:

   worker --redis redis://10.0.0.1:6379 --backend vllm://127.0.0.1:8000 --id node-1

It claims only jobs that it can run now, so workers of different speed share a batch fairly. While the server
does not answer, it claims no jobs. If a worker is killed, nothing is lost: other workers continue its jobs
from their last turn.

SIGTERM or Ctrl-C drains: no more jobs are claimed, agents finish their jobs or their turn within
--drain-timeout, and the other jobs are handed back. A second signal hands all jobs back at once.

SIGUSR1 sets the log level to debug, SIGUSR2 restores it.

The server's key comes from BATCHAGENT_API_KEY, the Redis password also from BATCHAGENT_REDIS_PASSWORD, its
certificates from BATCHAGENT_REDIS_CA, _CERT and _KEY. BATCHAGENT_API_KEY_FILE and
BATCHAGENT_REDIS_PASSWORD_FILE name files with these secrets.`

// Main runs the program and exits. name is the command that starts it, as texts show it.
func Main(name string) {
	lookup, err := hardening.TakeKeys(config.Keys)
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(exitUsage)
	}
	_ = hardening.Undumpable() // not supported by every kernel
	hardening.LimitMemory(os.Getenv)
	os.Exit(runIn(context.Background(), name, os.Args, os.Stderr, lookup))
}

func run(ctx context.Context, args []string, stderr io.Writer) int {
	return runIn(ctx, "worker", args, stderr, os.LookupEnv)
}

func runIn(ctx context.Context, name string, args []string, stderr io.Writer, lookup func(string) (string, bool)) int {
	code := exitOK
	app := &cli.App{
		Name:            name,
		Usage:           "run agents on this node",
		Description:     strings.ReplaceAll(description, "   worker ", "   "+name+" "),
		Version:         version.String(),
		Writer:          stderr,
		ErrWriter:       stderr,
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    func(_ *cli.Context, err error, _ bool) error { return &usageError{err} },
		Flags:           flags(),
		Action:          func(c *cli.Context) error { return serve(c, stderr, lookup) },
	}
	if err := app.RunContext(ctx, args); err != nil {
		fmt.Fprintln(human.VisibleWriter(stderr), name+":", strings.ReplaceAll(err.Error(), "`worker ", "`"+name+" "))
		code = exitUnreachable
		if _, ok := errors.AsType[*usageError](err); ok {
			code = exitUsage
		}
	}
	return code
}

// usageError is a mistake in the flags or in a file that they name.
type usageError struct{ err error }

func (e *usageError) Error() string {
	if _, ok := errors.AsType[spec.Errors](e.err); ok {
		return "\n" + e.err.Error()
	}
	return e.err.Error() + "; `worker --help` explains the flags"
}
func (e *usageError) Unwrap() error { return e.err }

func flags() []cli.Flag {
	host, _ := os.Hostname()
	env := config.Env
	return []cli.Flag{
		&cli.StringFlag{Name: "redis", EnvVars: env("redis"), Value: config.DefaultRedis, Usage: "Redis `URL`: redis://, rediss://, unix://, redis-cluster://, redis-sentinel://"},
		&cli.StringFlag{Name: "backend", EnvVars: env("backend"), Value: "vllm://127.0.0.1:8000", Usage: "inference server `URL`, as vllm://host:port"},
		&cli.StringFlag{Name: "id", EnvVars: env("id"), Value: host, Usage: "`NAME` of this worker in results and lists"},
		&cli.StringFlag{Name: "tools-root", EnvVars: env("tools-root"), Value: ".", Usage: "root `DIR` of read_file, list_files and grep_files"},
		&cli.StringFlag{Name: "tools", EnvVars: env("tools"), Usage: "`FILE` that declares more tools: MCP servers, databases, commands, web services", DefaultText: "built-in tools only"},
		&cli.IntFlag{Name: "max-inflight", EnvVars: env("max-inflight"), DefaultText: "the result of --calibrate, or the backend's safe number", Usage: "at most `N` model requests in flight"},
		&cli.BoolFlag{Name: "calibrate", Usage: "measure the best number of requests in flight, save it for later starts, and exit"},
		&cli.IntFlag{Name: "max-agents", EnvVars: env("max-agents"), DefaultText: "4 x max-inflight", Usage: "at most `N` live agents, including those that wait for tools"},
		&cli.DurationFlag{Name: "lease", EnvVars: env("lease"), Value: 15 * time.Second, Usage: "a worker that is silent for this `DURATION` loses its jobs; use the same for all workers"},
		&cli.DurationFlag{Name: "drain-timeout", EnvVars: env("drain-timeout"), Value: 30 * time.Second, Usage: "`DURATION` that agents may take to finish their turn"},
		&cli.StringFlag{Name: "listen", EnvVars: env("listen"), Usage: "serve /healthz, /readyz, /statusz and /metrics on `ADDR`, as 127.0.0.1:9100", DefaultText: "off"},
		&cli.StringFlag{Name: "pprof", EnvVars: env("pprof"), Usage: "serve profiles on a loopback `ADDR`, as 127.0.0.1:6060", DefaultText: "off"},
		&cli.StringFlag{Name: "log-level", EnvVars: env("log-level"), Value: "info", Usage: "debug, info, warn or error"},
		&cli.StringFlag{Name: "log-format", EnvVars: env("log-format"), Value: "text", Usage: "text or json"},
	}
}

// serve connects, runs the worker until a signal, and drains it.
func serve(c *cli.Context, stderr io.Writer, lookup func(string) (string, bool)) error {
	getenv := hardening.Getenv(lookup)
	var endSignals context.CancelFunc
	c.Context, endSignals = context.WithCancel(c.Context)
	defer endSignals()
	if c.Args().Present() {
		return &usageError{fmt.Errorf("unexpected argument %q", c.Args().First())}
	}
	log, level, err := config.AdjustableLogger(stderr, c.String("log-level"), c.String("log-format"))
	if err != nil {
		return &usageError{err}
	}
	defer config.LevelBySignal(log, level)()
	redis, err := config.ReadRedis(c.String("redis"), getenv)
	if err != nil {
		return &usageError{err}
	}
	back, err := dial.Open(c.Context, c.String("backend"), dial.Options{Logger: log, Getenv: getenv})
	if err != nil {
		return &usageError{err}
	}
	defer back.Close()
	if c.Bool("calibrate") {
		ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
		defer stop()
		return findCeiling(ctx, back, stderr)
	}
	set, err := tools(c, log, lookup)
	if err != nil {
		return &usageError{err}
	}
	defer set.Close()

	// The first signal drains, the second ends the drain.
	ctx, drain := context.WithCancel(c.Context)
	defer drain()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	abort := make(chan struct{})
	go func() {
		for _, end := range []func(){drain, func() { close(abort) }} {
			select {
			case <-signals:
				end()
			case <-c.Context.Done():
				return
			}
		}
	}()

	store, err := statestore.Open(ctx, redis.URL, statestore.Options{TLS: redis.TLS})
	if err != nil {
		return err
	}
	defer store.Close()
	for _, w := range store.Warnings(ctx) {
		log.Warn(w)
	}

	commands, blocking := store.Clients()
	pool, leave, err := set.Join(commands, blocking, c.String("id"), log)
	if err != nil {
		return &usageError{err}
	}
	defer leave()

	tracer, endTraces, err := tracing.Start(c.Context, tracing.Config{Service: "batchagent-worker", Instance: c.String("id"), Getenv: getenv, Logger: log})
	if err != nil {
		return &usageError{err}
	}
	defer endTraces()

	host, err := programs.New(programs.Config{
		Declared: set.Programs, Root: c.String("tools-root"), Files: set.Files, Getenv: getenv, Secrets: set.Secrets, Logger: log,
	})
	if err != nil {
		return &usageError{err}
	}
	defer host.Close()
	if err := host.Check(ctx, host.Needs()); err != nil {
		return err // a Docker engine or a registry may come back, so the service starts again
	}
	slots := c.Int("max-inflight")
	if slots <= 0 {
		slots = ceiling(ctx, back, log)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	w, err := worker.New(worker.Config{
		ID: c.String("id"), Store: store, Backend: back, Tools: pool, Programs: host,
		Slots: slots, MaxAgents: c.Int("max-agents"),
		Lease: c.Duration("lease"), DrainTimeout: c.Duration("drain-timeout"),
		Logger: log, Metrics: metrics, Tracer: tracer,
	})
	if err != nil {
		return &usageError{err}
	}
	closeHTTP, err := listen(c, w, metrics, log)
	if err != nil {
		return &usageError{err}
	}
	defer closeHTTP()

	go func() {
		select {
		case <-abort:
			w.Abort()
		case <-c.Context.Done():
		}
	}()
	log.Info("worker started", "id", c.String("id"), "redis", store.Address(), "backend", back.Endpoint(), "version", version.String())
	return w.Run(ctx)
}

// tools opens the tools of this worker. A signal while MCP servers start cancels the start.
func tools(c *cli.Context, log *slog.Logger, lookup func(string) (string, bool)) (*toolset.Set, error) {
	file := &toolset.File{}
	if path := c.String("tools"); path != "" {
		var err error
		if file, err = toolset.Read(path, lookup); err != nil {
			return nil, err
		}
	}
	starting, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	return toolset.Open(starting, file, toolset.Options{
		Root: c.String("tools-root"), Getenv: hardening.Getenv(lookup), Logger: log,
		Drivers: map[string]func() sqltool.Driver{"postgres": postgres.Driver, "sqlite": sqlite.Driver},
	})
}

// listen serves the operator's pages and the profiles, each if its flag is set.
func listen(c *cli.Context, w *worker.Worker, g prometheus.Gatherer, log *slog.Logger) (func(), error) {
	var servers []*http.Server
	start := func(addr string, h http.Handler) error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
		servers = append(servers, s)
		go func() {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				log.Error("HTTP server ended", "address", addr, "error", err)
			}
		}()
		return nil
	}
	closeAll := func() {
		for _, s := range servers {
			_ = s.Close()
		}
	}
	if addr := c.String("listen"); addr != "" {
		if err := start(addr, w.Handler(g)); err != nil {
			return nil, fmt.Errorf("--listen: %w", err)
		}
	}
	if addr := c.String("pprof"); addr != "" {
		if err := onlyLocal(addr); err != nil {
			closeAll()
			return nil, err
		}
		mux := http.NewServeMux()
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		if err := start(addr, mux); err != nil {
			closeAll()
			return nil, fmt.Errorf("--pprof: %w", err)
		}
	}
	return closeAll, nil
}

// onlyLocal returns an error for an address that other machines can reach, because profiles show memory.
func onlyLocal(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("--pprof: %w", err)
	}
	if loopback.Host(host) {
		return nil
	}
	return fmt.Errorf("--pprof: %s can be reached from other machines; use 127.0.0.1", addr)
}
