package toolpool

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/toolpool/schema"
)

const (
	defaultTimeout      = 60 * time.Second
	defaultMaxBytes     = 64 << 10
	defaultCacheEntries = 4096
	defaultCacheBytes   = 64 << 20
)

// Config configures a pool.
type Config struct {
	Logger       *slog.Logger // Defaults to no log.
	CacheEntries int          // Number of kept results. Defaults to 4096.
	CacheBytes   int          // Total size of kept results. Defaults to 64 MiB.
	// Cluster shares calls and rates with other processes. Nil shares within this process only.
	Cluster Cluster
}

// Pool is a set of tools and their shared state. Safe for concurrent use.
type Pool struct {
	log     *slog.Logger
	cluster Cluster // nil without one

	mu      sync.Mutex
	tools   map[string]*entry // guarded by mu
	cache   *cache            // guarded by mu
	flights map[key]*flight   // guarded by mu
	owns    map[key]*own      // guarded by mu; executions that callers of Join run
}

// entry is one registered tool.
type entry struct {
	tool    Tool // with its defaults filled in
	args    *schema.Schema
	gate    *gate // nil without limits
	latency *latency
	stats   Stats // guarded by Pool.mu; without quantiles
}

// New creates an empty pool.
func New(cfg Config) (*Pool, error) {
	if cfg.CacheEntries < 0 || cfg.CacheBytes < 0 {
		return nil, errors.New("a tool cache cannot have a negative size: set CacheEntries and CacheBytes to 0 for their defaults")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.CacheEntries == 0 {
		cfg.CacheEntries = defaultCacheEntries
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = defaultCacheBytes
	}
	c, err := newCache(cfg.CacheEntries, cfg.CacheBytes)
	if err != nil {
		return nil, err
	}
	return &Pool{log: cfg.Logger, cluster: cfg.Cluster, tools: map[string]*entry{}, cache: c, flights: map[key]*flight{}, owns: map[key]*own{}}, nil
}

// toolName matches the names that OpenAI-compatible servers accept.
var toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Register adds a tool. It fails if the declaration is incomplete, its schema does not compile or its name is taken.
func (p *Pool) Register(t Tool) error {
	e, err := newEntry(t, p.cluster)
	if err != nil {
		return fmt.Errorf("register tool %q: %w", t.Name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, taken := p.tools[t.Name]; taken {
		return fmt.Errorf("register tool %q: the name is taken", t.Name)
	}
	p.tools[t.Name] = e
	return nil
}

// Lookup returns a registered tool with its defaults filled in.
func (p *Pool) Lookup(name string) (Tool, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.tools[name]
	if !ok {
		return Tool{}, false
	}
	return e.tool, true
}

// Names lists the registered tools in alphabetical order.
func (p *Pool) Names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.tools))
}

// Check reports every fault in the tool's declaration. It does not check whether the name is taken.
func Check(t Tool) error {
	_, err := newEntry(t, nil)
	return err
}

// newEntry checks a declaration and fills in its defaults. It reports all faults together.
func newEntry(t Tool, c Cluster) (*entry, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }

	if !toolName.MatchString(t.Name) {
		fault("the name must be 1 to 64 letters, digits, _ or -")
	}
	if t.Description == "" {
		fault("the description is empty: a model would not know when to call it")
	}
	if t.Run == nil {
		fault("Run is nil")
	}
	if t.Timeout < 0 || t.MaxBytes < 0 {
		fault("Timeout and MaxBytes must not be negative")
	}
	if t.MaxTokens < 0 || t.Limit.PerSecond < 0 || t.Limit.Burst < 0 || t.Limit.Concurrency < 0 {
		fault("MaxTokens and Limit must not be negative")
	}
	switch t.OnUnknown {
	case "":
		t.OnUnknown = FailJob
	case FailJob, Repeat, Ask:
	default:
		fault("unknown OnUnknown %q: use %s, %s or %s", t.OnUnknown, FailJob, Repeat, Ask)
	}
	if t.MaxBytes == 0 {
		t.MaxBytes = defaultMaxBytes
	}
	switch t.Share {
	case "":
		t.Share = Inflight
	case Pure, Inflight, Effect:
	case ForTTL:
		if t.TTL <= 0 {
			fault("Share is %q but TTL is %s", ForTTL, t.TTL)
		}
	default:
		fault("unknown Share %q: use %s, %s, %s or %s", t.Share, Pure, ForTTL, Inflight, Effect)
	}
	var head struct {
		Type any `json:"type"`
	}
	if err := json.Unmarshal(t.Parameters, &head); err != nil {
		fault("Parameters: %w", err)
	} else if head.Type != "object" {
		fault(`Parameters: the schema must have "type": "object"`)
	}
	args, err := schema.Compile(t.Parameters)
	if err != nil {
		fault("Parameters: %w", err)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	quantiles, err := newLatency()
	if err != nil {
		return nil, err
	}
	return &entry{tool: t, args: args, gate: newGate(t.Name, t.Limit, c), latency: quantiles}, nil
}
