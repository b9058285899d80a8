package shared

import (
	"cmp"
	"context"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	defaultLease = 5 * time.Second
	// pureFor is the lifetime of a pure result in Redis. It limits how many results Redis holds.
	pureFor = time.Hour
	// outcomeFor is the lifetime of an outcome for the processes that waited for it.
	outcomeFor = 30 * time.Second
)

// Config configures the sharing of one process.
type Config struct {
	// Commands and Blocking are connections to one Redis. Blocking reads use Blocking only. Neither client may retry
	// by itself. The caller closes both after Close.
	Commands, Blocking redis.Cmdable
	// Name is unique for every start of a process.
	Name   string
	Lease  time.Duration // of a lead; the same in all processes. Defaults to 5 s.
	Logger *slog.Logger  // Defaults to no log.

	// Script may change a script's text before use, so that a test can break it.
	Script func(name, text string) string
	// Bytes limits the bytes that this process stores in Redis. Defaults to 256 MiB.
	Bytes int
}

// Sharer shares calls of one process with the others of a cluster. Create one with [New]. Safe for concurrent use.
type Sharer struct {
	cfg     Config
	log     *slog.Logger
	scripts scripts
	link    *link
	inbox   *inbox
	keeper  *keeper
	budget  *budget
	codec   codec

	life       context.Context
	end        context.CancelFunc
	background sync.WaitGroup
	publishing sync.WaitGroup

	mu     sync.Mutex
	closed bool // guarded by mu
}

// New starts the sharing. It does not wait for Redis.
func New(cfg Config) (*Sharer, error) {
	if cfg.Commands == nil || cfg.Blocking == nil || cfg.Name == "" {
		return nil, errors.New("share tool calls: Commands, Blocking and Name must be set")
	}
	cfg.Lease = cmp.Or(cfg.Lease, defaultLease)
	cfg.Bytes = cmp.Or(cfg.Bytes, 256<<20)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sharer{cfg: cfg, log: cfg.Logger, link: newLink(cfg.Lease, cfg.Logger), budget: &budget{limit: cfg.Bytes}}
	var err error
	if s.scripts, err = loadScripts(cfg.Script); err != nil {
		return nil, err
	}
	if s.codec, err = newCodec(); err != nil {
		return nil, err
	}
	s.inbox = newInbox(cfg.Blocking, cfg.Commands, cfg.Name, s.link)
	s.keeper = newKeeper(s)
	s.life, s.end = context.WithCancel(context.Background())
	s.background.Go(func() { s.inbox.read(s.life) })
	s.background.Go(func() { s.keeper.renewLeads(s.life) })
	return s, nil
}

// Close ends the sharing. It first waits for outcomes being published, until ctx is done. Remaining leads expire.
func (s *Sharer) Close(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	arrived := make(chan struct{})
	go func() {
		s.publishing.Wait()
		close(arrived)
	}()
	select {
	case <-arrived:
	case <-ctx.Done():
	}
	s.end()
	s.inbox.nudge(ctx)
	<-arrived
	s.background.Wait()
}

// goes runs do on a goroutine that Close waits for. After Close it does nothing.
func (s *Sharer) goes(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.publishing.Go(do)
	}
}

// Away implements [toolpool.Cluster].
func (s *Sharer) Away() bool { return s.link.away() }

// callKeys are the names of one call's keys. They share a hash tag, so that one script may touch them all.
type callKeys struct{ prefix string }

func keysOf(key [32]byte) callKeys { return callKeys{"ba:tool:{" + hex.EncodeToString(key[:]) + "}:"} }

func (k callKeys) lead() string                { return k.prefix + "lead" }          // string: token; expires with the lease
func (k callKeys) value() string               { return k.prefix + "value" }         // string: encoded outcome
func (k callKeys) waiters() string             { return k.prefix + "wait" }          // hash: inbox -> awaited token; "" -> token that ended last
func (k callKeys) outcome(token string) string { return k.prefix + "out:" + token }  // string: encoded outcome
func (k callKeys) blob(token string) string    { return k.prefix + "blob:" + token } // string: a large outcome's body

func (k callKeys) all(token string) []string {
	return []string{k.lead(), k.value(), k.waiters(), k.outcome(token)}
}

func inboxKey(name string) string { return "ba:inbox:{" + name + "}" } // stream, capped: k key of a call

func bucketKeys(tool string) []string {
	return []string{"ba:limit:{" + tool + "}:bucket", "ba:limit:{" + tool + "}:nodes"}
}

//go:embed lua/*.lua
var luaFiles embed.FS

type scripts struct{ join, finish, renew, take *redis.Script }

func loadScripts(change func(name, text string) string) (scripts, error) {
	var s scripts
	for name, to := range map[string]**redis.Script{"join": &s.join, "finish": &s.finish, "renew": &s.renew, "take": &s.take} {
		text, err := luaFiles.ReadFile("lua/" + name + ".lua")
		if err != nil {
			return s, fmt.Errorf("read the embedded script %s: %w", name, err)
		}
		if change != nil {
			text = []byte(change(name, string(text)))
		}
		*to = redis.NewScript(string(text))
	}
	return s, nil
}

// Take implements [toolpool.Cluster].
func (s *Sharer) Take(ctx context.Context, b toolpool.Bucket, n int) (toolpool.Grant, error) {
	if s.link.away() {
		return toolpool.Grant{}, toolpool.ErrAway
	}
	v, err := s.scripts.take.Run(ctx, s.cfg.Commands, bucketKeys(b.Name), b.PerSecond, b.Burst, n, s.cfg.Name).Int64Slice()
	if err != nil || len(v) != 3 {
		if ctx.Err() == nil {
			s.link.failed(err)
		}
		return toolpool.Grant{}, fmt.Errorf("take starts of %s: %w: %w", b.Name, toolpool.ErrAway, err)
	}
	s.link.worked()
	return toolpool.Grant{Starts: int(v[0]), Wait: time.Duration(v[1]) * time.Millisecond, Nodes: int(v[2])}, nil
}
