package vllmsim

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a simulated vLLM. It is safe for concurrent use.
type Server struct {
	cfg         Config
	engine      engine
	injector    *injector
	metrics     *metrics
	schemas     *schemaCache
	toolsets    *toolCache
	fingerprint string
	born        time.Time
	requests    atomic.Uint64
	buffers     sync.Pool // of *[]byte, for request bodies and events
	routes      map[string]route
}

type route struct {
	method string
	serve  http.HandlerFunc
}

// New returns a server that is ready to serve. The error lists every bad field of cfg.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("simulated server: %w", err)
	}
	e, err := newEngine(cfg)
	if err != nil {
		return nil, err
	}
	return newServer(cfg, e)
}

func newServer(cfg Config, e engine) (*Server, error) {
	s := &Server{cfg: cfg, engine: e, fingerprint: "vllm-" + Version + "-sim", born: time.Now()}
	var err error
	if s.injector, err = newInjector(cfg.Seed, cfg.Faults); err != nil {
		return nil, err
	}
	if s.metrics, err = newMetrics(cfg, e.load); err != nil {
		return nil, fmt.Errorf("metrics of the simulated server: %w", err)
	}
	if s.schemas, err = newSchemaCache(); err != nil {
		return nil, err
	}
	if s.toolsets, err = newToolCache(); err != nil {
		return nil, err
	}
	s.buffers.New = func() any { b := make([]byte, 0, 16<<10); return &b }
	s.routes = map[string]route{
		"/v1/chat/completions": {http.MethodPost, s.chat},
		"/v1/models":           {http.MethodGet, s.models},
		"/tokenize":            {http.MethodPost, s.tokenize},
		"/health":              {http.MethodGet, s.health},
		"/load":                {http.MethodGet, s.load},
		"/version":             {http.MethodGet, s.version},
		"/metrics":             {http.MethodGet, s.metrics.handler.ServeHTTP},
	}
	return s, nil
}

// SetFaults replaces the faults for later requests, and restarts the count of forward passes.
func (s *Server) SetFaults(f Faults) error {
	if err := f.validate(); err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	s.injector.set(f)
	return nil
}

// ServeHTTP serves vLLM's routes.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.cfg.APIKey != "" && strings.HasPrefix(r.URL.Path, "/v1/") && !s.authorised(r) {
		writeJSON(w, http.StatusUnauthorized, []byte(`{"error":"Unauthorized"}`))
		return
	}
	to, ok := s.routes[r.URL.Path]
	switch {
	case !ok:
		writeDetail(w, http.StatusNotFound, "Not Found")
	case r.Method != to.method:
		w.Header().Set("Allow", to.method)
		writeDetail(w, http.StatusMethodNotAllowed, "Method Not Allowed")
	default:
		to.serve(w, r)
	}
}

func (s *Server) authorised(r *http.Request) bool {
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(key), []byte(s.cfg.APIKey)) == 1
}

func (s *Server) buffer() *[]byte { return s.buffers.Get().(*[]byte) } //nolint:forcetypeassert // the pool holds nothing else

// maxPooled is the largest buffer that is kept in the pool, in bytes.
const maxPooled = 1 << 20

func (s *Server) recycle(b *[]byte) {
	if cap(*b) <= maxPooled {
		*b = (*b)[:0]
		s.buffers.Put(b)
	}
}
