package statestore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Options configure how a store connects. Programs use the zero value.
type Options struct {
	// Dialer replaces the network, for an embedded server. It is called with the address of the URL.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is the configuration for URLs with TLS: trusted authorities and client certificates. The server name is filled in.
	// Nil trusts the system's authorities.
	TLS *tls.Config
	// PoolSize is the limit of connections for commands. Defaults to 16 per CPU.
	PoolSize int
	// Jitter replaces the random source of backoff, for simulations that replay a run. It returns numbers in [0,1).
	Jitter func() float64
	// Script may change a script's text before its first use. Simulations break scripts with it, to check that they detect it.
	Script func(name, text string) string
}

// client is a client of a server or a cluster. It is an interface because the compiler would otherwise compile
// the 500 methods of the library's client again in each package that knows [Store]: two seconds each.
type client interface {
	redis.Cmdable
	processor
	io.Closer
}

// connection is one connection of a client. Redis waits for the writes of a connection, so it is one that waits.
type connection interface {
	client
	Wait(ctx context.Context, replicas int, timeout time.Duration) *redis.IntCmd
	WaitAOF(ctx context.Context, disks, replicas int, timeout time.Duration) *redis.IntSliceCmd
}

// Store is a connection to Redis. It is safe for concurrent use.
type Store struct {
	cmd      client // commands
	blocking client // XREAD BLOCK, so that readers never occupy a command's connection
	address  string
	scripts  scripts
	jitter   func() float64
}

// Open connects to Redis and waits for its first answer, or for ctx.
//
// The URL is one of
//
//	redis://[user:password@]host:port[/db]       rediss://… for TLS
//	unix:///path/to/redis.sock[?db=n]
//	redis-cluster://[user:password@]host:port[,host:port…]
//	redis-sentinel://[user:password@]host:port[,host:port…][/db]?master_name=NAME
//
// A redis:// URL of a cluster node is recognised as such. The last two take ?tls=true. A password may also come from
// the environment; see internal/config. Errors name the address and never the password.
func Open(ctx context.Context, rawURL string, o Options) (*Store, error) {
	quiet()
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if o.Dialer != nil {
		u.Dialer = o.Dialer
	}
	if o.TLS != nil && u.TLSConfig != nil {
		own := o.TLS.Clone()
		own.ServerName, own.InsecureSkipVerify = u.TLSConfig.ServerName, u.TLSConfig.InsecureSkipVerify
		u.TLSConfig = own
	}
	if o.PoolSize == 0 {
		o.PoolSize = 16 * runtime.GOMAXPROCS(0)
	}
	address := strings.Join(u.Addrs, ",")
	if len(u.Addrs) == 1 && u.MasterName == "" && !u.IsClusterMode {
		if u.IsClusterMode, err = clusterEnabled(ctx, u); err != nil {
			return nil, fmt.Errorf("connect to Redis at %s: %w; is it running, and is the address right?", address, err)
		}
	}
	s := &Store{
		cmd:      newClient(u, o.PoolSize, false),
		blocking: newClient(u, 8, true),
		address:  address,
		jitter:   o.Jitter,
	}
	if s.jitter == nil {
		s.jitter = globalJitter
	}
	if s.scripts, err = loadScripts(o.Script); err != nil {
		return nil, err
	}
	if err := s.cmd.Ping(ctx).Err(); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("connect to Redis at %s: %w; is it running, and is the address right?", address, err)
	}
	return s, nil
}

// Close closes all connections. Calls in flight fail.
func (s *Store) Close() error { return errors.Join(s.cmd.Close(), s.blocking.Close()) }

// Address returns the address of the server, without credentials.
func (s *Store) Address() string { return s.address }

// Clients returns the store's own clients for other users of its server: one for commands, and one for blocking reads. Neither
// retries by itself. They close with the store.
func (s *Store) Clients() (commands, blocking redis.Cmdable) { return s.cmd, s.blocking }

// Ping checks that Redis answers.
func (s *Store) Ping(ctx context.Context) error {
	return classify("ping Redis at "+s.address, s.cmd.Ping(ctx).Err())
}

// Warnings returns the settings of the server that weaken the guarantees, as sentences for an operator. It reads INFO alone, so no user
// needs the right to CONFIG, which returns passwords. It returns none for a server without these sections.
func (s *Store) Warnings(ctx context.Context) []string {
	var out []string
	field := func(section, name string) string {
		text, err := s.cmd.Info(ctx, section).Result()
		if err != nil {
			return ""
		}
		return parseInfo(text)[name]
	}
	if p := field("memory", "maxmemory_policy"); p != "" && p != "noeviction" && field("memory", "maxmemory") != "0" {
		out = append(out, fmt.Sprintf("Redis may evict jobs and results: maxmemory-policy is %s; set it to noeviction", p))
	}
	if field("persistence", "aof_enabled") == "0" {
		out = append(out, "Redis keeps no append-only file: a restart loses all changes since its last snapshot; set appendonly yes")
	}
	return out
}

// quiet stops the client library from writing to standard error. The library also returns the same errors.
var quiet = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

func newClient(u *redis.UniversalOptions, pool int, blocking bool) client {
	o := *u
	o.PoolSize = pool
	// The client must not retry: a repeated XREADGROUP would orphan the jobs of the first one. Each method decides what may be
	// repeated.
	o.MaxRetries = -1
	// Our own backoff decides when to dial again.
	o.DialerRetries = 1
	o.DialTimeout = 3 * time.Second
	o.ContextTimeoutEnabled = true
	o.ConnMaxIdleTime = 5 * time.Minute
	o.DisableIdentity = true
	if !blocking {
		o.ReadTimeout = 10 * time.Second
		o.WriteTimeout = 10 * time.Second
	}
	if o.IsClusterMode {
		c := o.Cluster()
		// A dead node redirects no client to its replica, and failed calls do not make the client reload the cluster's state.
		c.ClusterStateReloadInterval = 2 * time.Second
		return redis.NewClusterClient(c)
	}
	return redis.NewUniversalClient(&o)
}

func clusterEnabled(ctx context.Context, u *redis.UniversalOptions) (bool, error) {
	c := newClient(u, 1, false)
	defer c.Close()
	info, err := c.Info(ctx, "cluster").Result()
	if err != nil {
		var answer redis.Error
		if errors.As(err, &answer) && !strings.HasPrefix(answer.Error(), "NOAUTH") && !strings.HasPrefix(answer.Error(), "WRONGPASS") {
			return false, nil // a server without INFO
		}
		return false, err
	}
	return strings.Contains(info, "cluster_enabled:1"), nil
}

func parseURL(raw string) (*redis.UniversalOptions, error) {
	scheme, _, _ := strings.Cut(raw, "://")
	switch scheme {
	case "redis", "rediss", "unix":
		o, err := redis.ParseURL(raw)
		if err != nil {
			return nil, fmt.Errorf("the Redis URL is malformed: %w; one looks like redis://127.0.0.1:6379", redact(err, raw))
		}
		u := &redis.UniversalOptions{
			Addrs: []string{o.Addr}, Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: o.TLSConfig,
		}
		if o.Network == "unix" {
			u.Dialer = func(ctx context.Context, _, addr string) (net.Conn, error) {
				return (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "unix", addr)
			}
		}
		return u, nil
	case "redis-cluster", "redis-sentinel":
		return parseMany(scheme, raw)
	default:
		return nil, fmt.Errorf("the Redis URL must begin with redis://, rediss://, unix://, redis-cluster:// or redis-sentinel://; one looks like redis://127.0.0.1:6379")
	}
}

func parseMany(scheme, raw string) (*redis.UniversalOptions, error) {
	v, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("the Redis URL is malformed: %w", redact(err, raw))
	}
	u := &redis.UniversalOptions{Username: v.User.Username(), IsClusterMode: scheme == "redis-cluster"}
	u.Password, _ = v.User.Password()
	for addr := range strings.SplitSeq(v.Host, ",") {
		if !strings.Contains(addr, ":") {
			addr += map[string]string{"redis-cluster": ":6379", "redis-sentinel": ":26379"}[scheme]
		}
		u.Addrs = append(u.Addrs, addr)
	}
	if v.Query().Get("tls") == "true" {
		host, _, _ := net.SplitHostPort(u.Addrs[0])
		u.TLSConfig = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	if scheme == "redis-sentinel" {
		if u.MasterName = v.Query().Get("master_name"); u.MasterName == "" {
			return nil, errors.New("a redis-sentinel:// URL needs ?master_name=NAME, the name that the sentinels watch")
		}
		if db := strings.Trim(v.Path, "/"); db != "" {
			if u.DB, err = strconv.Atoi(db); err != nil {
				return nil, fmt.Errorf("the database number %q in the Redis URL is not a number", db)
			}
		}
	}
	return u, nil
}

// redact keeps the message of a URL parser and drops the URL in it, which may hold a password.
func redact(err error, raw string) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	msg := err.Error()
	if u, e := url.Parse(raw); e == nil {
		if p, ok := u.User.Password(); ok && p != "" {
			msg = strings.ReplaceAll(msg, p, "***")
		}
	} else if _, rest, ok := strings.Cut(raw, "://"); ok && strings.Contains(rest, "@") {
		return errors.New("it cannot be parsed; characters such as / and # in a password must be percent-encoded")
	}
	return errors.New(msg)
}
