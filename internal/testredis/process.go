package testredis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/internal/processkit"
)

// startWithin is how long a server may take to answer its first PING.
const startWithin = 15 * time.Second

// Process is one redis-server. Only the test's goroutine may call its methods.
type Process struct {
	t         testing.TB
	dir       string
	port      int
	clustered bool // the cluster bus uses the port plus busOffset
	opts      options
	sentinel  string // configuration file of a sentinel; "" for a server

	process *processkit.Process // nil before its start
}

type options struct {
	config   []string // command line of redis-server
	unix     bool
	tls      bool
	mutual   bool
	user     string
	password string
	users    bool // it loads deploy/redis/users.acl
}

// Arg is an option for starting a server.
type Arg func(*options)

// AOF makes the server keep an append-only file, synced after each write: on a slow disk, a server that is killed loses what it writes every
// second. Without the file no data survives the process.
func AOF() Arg { return Config("appendonly", "yes", "appendfsync", "always") }

// Config passes directives of redis.conf: name, value, name, value, …
func Config(namesAndValues ...string) Arg {
	return func(o *options) {
		for i := 0; i+1 < len(namesAndValues); i += 2 {
			o.config = append(o.config, "--"+namesAndValues[i], namesAndValues[i+1])
		}
	}
}

// Unix makes the server listen on a socket file instead of a port.
func Unix() Arg { return func(o *options) { o.unix = true } }

// TLS makes the server accept only TLS. Its certificate is self-signed.
func TLS() Arg { return func(o *options) { o.tls = true } }

// MutualTLS is TLS that also requires a client certificate; [Process.Certificate] is accepted.
func MutualTLS() Arg { return func(o *options) { o.tls, o.mutual = true, true } }

// Password makes clients authenticate. An empty user is Redis' default user.
func Password(user, password string) Arg {
	return func(o *options) { o.user, o.password = user, password }
}

// Server starts a redis-server for the test and waits until it answers.
func Server(t testing.TB, args ...Arg) *Process {
	t.Helper()
	p := newProcess(t, args...)
	p.start()
	return p
}

// program returns redis-server, or the server in BATCHAGENT_REDIS_SERVER, such as /usr/bin/valkey-server.
func program() string { return cmp.Or(os.Getenv("BATCHAGENT_REDIS_SERVER"), "redis-server") }

func newProcess(t testing.TB, args ...Arg) *Process {
	t.Helper()
	if _, err := exec.LookPath(program()); err != nil {
		const missing = "this test needs redis-server, which is not in PATH: install it (Debian, Ubuntu: " +
			"apt-get install redis-server; macOS: brew install redis) and run the test again"
		if os.Getenv("CI") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	p := &Process{t: t}
	for _, a := range args {
		a(&p.opts)
	}
	// The path of a socket is limited to about 100 bytes, which the test's own directory can exceed.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatalf("make a directory for redis-server: %v", err)
	}
	p.dir = dir
	if p.opts.users {
		p.renderUsers()
	}
	t.Cleanup(func() {
		p.Kill9()
		if t.Failed() && p.process != nil {
			t.Logf("log of redis-server %s:\n%s", p.Addr(), p.log())
		}
		_ = os.RemoveAll(dir)
	})
	return p
}

// start tries several ports, because another process may take a port before the server binds it.
func (p *Process) start() {
	p.t.Helper()
	for range 5 {
		p.choosePorts()
		if p.launch() {
			return
		}
	}
	p.t.Fatalf("redis-server did not start on any of five ports:\n%s", p.log())
}

func (p *Process) choosePorts() {
	p.port = freePort(p.t)
	for p.clustered && p.port+busOffset > 65535 {
		p.port = freePort(p.t)
	}
}

// busOffset is the difference between a cluster node's port and its bus port. From 7.0 on it can be configured.
const busOffset = 10000

// launch starts the process and waits until it answers. It returns false if the process ended because its port was in use.
func (p *Process) launch() bool {
	p.t.Helper()
	process, err := processkit.Start(program(), nil, p.arguments()...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.process = process

	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	err = poll(ctx, func() error {
		select {
		case <-process.Ended():
			return errEnded
		default:
		}
		return p.ping(ctx)
	}, errEnded)
	if errors.Is(err, errEnded) && strings.Contains(p.log(), "in use") {
		return false
	}
	withoutTLS := strings.Contains(p.log(), "Bad directive") || strings.Contains(p.log(), "TLS support")
	if errors.Is(err, errEnded) && p.opts.tls && withoutTLS && program() != "redis-server" {
		p.t.Skipf("%s was built without TLS", program())
	}
	if err != nil {
		p.t.Fatalf("wait for redis-server at %s: %v; its log:\n%s", p.Addr(), err, p.log())
	}
	return true
}

var errEnded = errors.New("the process ended")

func (p *Process) arguments() []string {
	if p.sentinel != "" {
		return []string{p.sentinel, "--sentinel", "--port", strconv.Itoa(p.port)}
	}
	args := []string{"--dir", p.dir, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--databases", "64"}
	switch {
	case p.opts.unix:
		args = append(args, "--port", "0", "--unixsocket", p.socket())
	case p.opts.tls:
		cert, key := certificate(p.t, p.dir)
		args = append(args, "--port", "0", "--tls-port", strconv.Itoa(p.port), "--tls-cert-file", cert, "--tls-key-file", key,
			"--tls-ca-cert-file", cert, "--tls-auth-clients", map[bool]string{true: "yes", false: "no"}[p.opts.mutual])
	default:
		args = append(args, "--port", strconv.Itoa(p.port))
	}
	if p.opts.users {
		args = append(args, "--aclfile", p.aclFile())
	} else if p.opts.password != "" {
		if p.opts.user == "" {
			args = append(args, "--requirepass", p.opts.password)
		} else {
			args = append(args, "--user", "default", "off", "--user", p.opts.user, "on", ">"+p.opts.password, "~*", "&*", "+@all")
		}
	}
	if p.clustered {
		args = append(args, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
	}
	return append(args, p.opts.config...)
}

func (p *Process) socket() string { return filepath.Join(p.dir, "s") }

// Addr returns host:port, or the path of the socket.
func (p *Process) Addr() string {
	if p.opts.unix {
		return p.socket()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port))
}

// URL returns the address with credentials, as programs accept it. With TLS, the certificate is not verified.
func (p *Process) URL() string {
	u := url.URL{Scheme: "redis", Host: p.Addr()}
	if p.opts.unix {
		u = url.URL{Scheme: "unix", Path: p.socket()}
	}
	if p.opts.tls {
		u.Scheme, u.RawQuery = "rediss", "skip_verify=true"
	}
	if p.opts.password != "" {
		u.User = url.UserPassword(p.opts.user, p.opts.password)
	}
	return u.String()
}

// Certificate returns the files of a TLS server's certificate and key. The certificate is its own authority.
func (p *Process) Certificate() (certFile, keyFile string) {
	return filepath.Join(p.dir, "cert.pem"), filepath.Join(p.dir, "key.pem")
}

// Client returns a direct connection that bypasses the store. It is closed with the test.
func (p *Process) Client() *redis.Client {
	c := redis.NewClient(p.clientOptions())
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (p *Process) clientOptions() *redis.Options {
	o := &redis.Options{
		Network: "tcp", Addr: p.Addr(), Username: p.opts.user, Password: p.opts.password, MaxRetries: -1, DialerRetries: 1,
		DisableIdentity: true, DialTimeout: time.Second, ReadTimeout: time.Second,
	}
	if p.opts.unix {
		o.Network = "unix"
	}
	if p.opts.tls {
		o.TLSConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // the test's own process on loopback
		if p.opts.mutual {
			own, err := tls.LoadX509KeyPair(p.Certificate())
			if err != nil {
				p.t.Fatalf("read the certificate: %v", err)
			}
			o.TLSConfig.Certificates = []tls.Certificate{own}
		}
	}
	return o
}

// ping returns an error if no server answers, or if another process took the port first.
func (p *Process) ping(ctx context.Context) error {
	o := p.clientOptions()
	// Dial a plain connection first: the client logs every failed dial.
	conn, err := (&net.Dialer{}).DialContext(ctx, o.Network, o.Addr)
	if err != nil {
		return err
	}
	_ = conn.Close()
	c := redis.NewClient(o)
	defer c.Close()
	if err := c.Ping(ctx).Err(); err != nil {
		return err
	}
	info, err := c.InfoMap(ctx, "server").Result()
	if err != nil {
		return err
	}
	if pid := info["Server"]["process_id"]; pid != strconv.Itoa(p.PID()) {
		return fmt.Errorf("process %s answers instead of %d", pid, p.PID())
	}
	return nil
}

// PID returns the process's ID.
func (p *Process) PID() int { return p.process.PID() }

// Kill9 kills the process and waits for its end. It may be called again.
func (p *Process) Kill9() {
	if p.process != nil {
		p.process.Kill()
	}
}

// Restart starts the process again at the same address, and kills it first if necessary. Without [AOF] it is empty.
func (p *Process) Restart() {
	p.t.Helper()
	p.Kill9()
	if !p.launch() {
		p.t.Fatalf("redis-server could not get its port %d back", p.port)
	}
}

// Stop freezes the process: connections stay open, and no request is answered until Cont.
func (p *Process) Stop() { p.signal(syscall.SIGSTOP) }

// Cont resumes a frozen process.
func (p *Process) Cont() { p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *Process) log() string { return p.process.Log() }

func freePort(t testing.TB) int {
	t.Helper()
	addr, err := processkit.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return int(netip.MustParseAddrPort(addr).Port())
}

// poll repeats try until it succeeds, fails with a fatal error, or ctx ends. It returns the last error.
func poll(ctx context.Context, try func() error, fatal ...error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		for _, f := range fatal {
			if errors.Is(err, f) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up: %w", err)
		case <-tick.C:
		}
	}
}
