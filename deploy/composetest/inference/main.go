// Command inference replaces vLLM, SGLang and LMCache on machines without GPUs. It runs under the names of the programs in their
// images and parses the command lines of deploy/. It exits with 2 if a flag is unknown or missing. TestCommandLines checks that
// the real programs accept those flags.
//
// As vllm and python3 it first writes below HOME, where models would be downloaded. Then it serves the simulator of package
// vllmsim on the given port. As lmcache it accepts connections. As curl, and as python3 with a program, it runs the health
// checks.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/batchagent/batchagent/pkg/vllmsim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, filepath.Base(os.Args[0]), os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, filepath.Base(os.Args[0]), "(stand-in):", err)
		os.Exit(2)
	}
}

func run(ctx context.Context, program string, args []string) error {
	first, rest := "", []string(nil)
	if len(args) > 0 {
		first, rest = args[0], args[1:]
	}
	switch {
	case program == "curl":
		return answers(ctx, args[:len(args)-1], args[len(args)-1])
	case program == "vllm" && first == "serve":
		return vllm(ctx, rest)
	case program == "python3" && first == "-m" && len(rest) > 0 && rest[0] == "sglang.launch_server":
		return sglang(ctx, rest[1:])
	case program == "python3" && first == "-c":
		c, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "tcp", "127.0.0.1:5555") // like the program of the health check
		if err != nil {
			return err
		}
		return c.Close()
	case program == "lmcache" && first == "server":
		return lmcache(ctx, rest)
	}
	return fmt.Errorf("nothing in deploy/ calls it with %q", args)
}

// flags parses a command line. Every flag is required.
type flags struct {
	*flag.FlagSet
	text map[string]*string
}

func newFlags(texts, switches []string) flags {
	f := flags{flag.NewFlagSet("", flag.ContinueOnError), map[string]*string{}}
	f.SetOutput(io.Discard)
	for _, name := range texts {
		f.text[name] = f.String(name, "", "")
	}
	for _, name := range switches {
		f.Bool(name, false, "")
	}
	return f
}

func (f flags) parse(args []string, optional ...string) error {
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q belongs to no flag", f.Args())
	}
	missing := map[string]bool{}
	f.VisitAll(func(x *flag.Flag) { missing[x.Name] = true })
	f.Visit(func(x *flag.Flag) { delete(missing, x.Name) })
	for _, name := range optional {
		delete(missing, name)
	}
	for name := range missing {
		return fmt.Errorf("--%s is missing", name)
	}
	return nil
}

func vllm(ctx context.Context, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return errors.New("the model comes first")
	}
	f := newFlags([]string{"port", "tool-call-parser", "scheduling-policy", "kv-transfer-config", "tensor-parallel-size"},
		[]string{"enable-auto-tool-choice", "enable-prompt-tokens-details", "enable-prefix-caching"})
	if err := f.parse(args[1:], "kv-transfer-config", "tensor-parallel-size"); err != nil {
		return err
	}
	if text := *f.text["kv-transfer-config"]; text != "" {
		var kv struct {
			Connector string `json:"kv_connector"`
			Role      string `json:"kv_role"`
			Extra     struct {
				Host string  `json:"lmcache.mp.host"`
				Port float64 `json:"lmcache.mp.port"`
			} `json:"kv_connector_extra_config"`
		}
		if err := json.Unmarshal([]byte(text), &kv); err != nil {
			return fmt.Errorf("--kv-transfer-config: %w", err)
		}
		address := fmt.Sprintf("%s:%g", strings.TrimPrefix(kv.Extra.Host, "tcp://"), kv.Extra.Port)
		c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("the shared cache: %w", err)
		}
		defer c.Close()
	}
	s, err := simulator(args[0])
	if err != nil {
		return err
	}
	key := os.Getenv("VLLM_API_KEY")
	if key == "" {
		return errors.New("there is no VLLM_API_KEY")
	}
	return serve(ctx, *f.text["port"], locked(s, key, func(path string) bool { return strings.HasPrefix(path, "/v1/") }))
}

// locked asks for the key on the pages that asks names.
func locked(h http.Handler, key string, asks func(path string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asks(r.URL.Path) && r.Header.Get("Authorization") != "Bearer "+key {
			http.Error(w, "the key is missing or wrong", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func sglang(ctx context.Context, args []string) error {
	f := newFlags([]string{"model-path", "host", "port", "tool-call-parser", "api-key"}, []string{"enable-metrics", "enable-cache-report"})
	if err := f.parse(args); err != nil {
		return err
	}
	s, err := simulator(*f.text["model-path"])
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", s)
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /abort_request", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /server_info", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"max_req_input_len":32761,"max_total_num_tokens":1048576}`))
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("sglang:num_running_reqs 0\nsglang:num_queue_reqs 0\nsglang:token_usage 0\n"))
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "it would generate a token: nothing in deploy/ should ask for this page", http.StatusTeapot)
	})
	return serve(ctx, *f.text["port"], locked(mux, *f.text["api-key"], func(path string) bool { return path != "/health" && path != "/metrics" }))
}

// simulator returns a simulated model server. It returns an error if the folder for models is not writable.
func simulator(model string) (http.Handler, error) {
	if err := os.MkdirAll(filepath.Join(os.Getenv("HF_HOME"), "hub"), 0o755); err != nil {
		return nil, fmt.Errorf("the folder for models is not writable: %w", err)
	}
	return vllmsim.New(vllmsim.Config{Model: model})
}

func serve(ctx context.Context, port string, h http.Handler) error {
	server := &http.Server{Addr: ":" + port, Handler: h, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func lmcache(ctx context.Context, args []string) error {
	f := newFlags([]string{"host", "port", "l1-size-gb", "eviction-policy"}, nil)
	if err := f.parse(args); err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(*f.text["host"], *f.text["port"]))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		_ = c.Close()
	}
}

// answers behaves like curl -f. The option -H @FILE names a file that holds a header.
func answers(ctx context.Context, options []string, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for _, option := range options {
		name, ok := strings.CutPrefix(option, "@")
		if !ok {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		header, value, _ := strings.Cut(strings.TrimSpace(string(text)), ": ")
		req.Header.Set(header, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return errors.New(resp.Status)
	}
	return nil
}
