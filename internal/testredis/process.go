package testredis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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
)

// startWithin bounds how long a server may take to answer its first PING.
const startWithin = 15 * time.Second

// Process is one redis-server. Its methods are for one goroutine, the test's.
type Process struct {
	t         testing.TB
	dir       string
	port      int
	clustered bool // the cluster's bus has the port above it by busOffset
	opts      options
	sentinel  string // configuration file of a sentinel; "" for a server

	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
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

// Arg changes how a server is started.
type Arg func(*options)

// AOF makes the server keep an append-only file, synced every second; without it nothing outlives the process.
func AOF() Arg { return Config("appendonly", "yes", "appendfsync", "everysec") }

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

// TLS makes the server speak TLS only, with a certificate that no system trusts.
func TLS() Arg { return func(o *options) { o.tls = true } }

// MutualTLS is TLS, and clients must show a certificate too: [Process.Certificate] will do.
func MutualTLS() Arg { return func(o *options) { o.tls, o.mutual = true, true } }

// Password makes clients give a password. An empty user is Redis' own default user.
func Password(user, password string) Arg {
	return func(o *options) { o.user, o.password = user, password }
}

// Server starts a redis-server of its own for the test and waits until it answers.
func Server(t testing.TB, args ...Arg) *Process {
	t.Helper()
	p := newProcess(t, args...)
	p.start()
	return p
}

// program is redis-server, or another server that BATCHAGENT_REDIS_SERVER names, such as /usr/bin/valkey-server.
func program() string { return cmp.Or(os.Getenv("BATCHAGENT_REDIS_SERVER"), "redis-server") }

func newProcess(t testing.TB, args ...Arg) *Process {
	t.Helper()
	if _, err := exec.LookPath(program()); err != nil {
		const missing = "this test needs a real redis-server, and there is none in PATH: install it (Debian, Ubuntu: " +
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
	// A socket's path may not be longer than about 100 bytes, which the test's own directory can exceed.
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
		if t.Failed() && p.cmd != nil {
			t.Logf("redis-server %s said:\n%s", p.Addr(), p.log())
		}
		_ = os.RemoveAll(dir)
	})
	return p
}

// start tries several ports: between choosing one and the server's bind another process may take it.
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

// busOffset is from a cluster node's port to that of its bus, unless it is told (from 7.0 on).
const busOffset = 10000

// launch starts the process and waits until it answers. It returns false if the process ended because its port was
// taken.
func (p *Process) launch() bool {
	p.t.Helper()
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		p.t.Fatalf("make the log of redis-server: %v", err)
	}
	defer log.Close()
	p.cmd = exec.Command(program(), p.arguments()...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = p.dir, log, log, sysProcAttr()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start redis-server: %v", err)
	}
	cmd, done := p.cmd, make(chan struct{})
	p.done = done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()

	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	err = poll(ctx, func() error {
		select {
		case <-done:
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
		p.t.Fatalf("wait for redis-server at %s: %v; it said:\n%s", p.Addr(), err, p.log())
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

// Addr is host:port, or the path of the socket.
func (p *Process) Addr() string {
	if p.opts.unix {
		return p.socket()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port))
}

// URL is the address with the credentials, as programs take it. The certificate of a TLS server is not checked.
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

// Certificate names the files of a TLS server's certificate, which is its own authority, and of its key.
func (p *Process) Certificate() (certFile, keyFile string) {
	return filepath.Join(p.dir, "cert.pem"), filepath.Join(p.dir, "key.pem")
}

// Client is a plain connection to look behind the store's back. It is closed with the test.
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
		o.TLSConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // our own process on loopback
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

// ping fails if nobody answers, or another process, which took the port before this one could.
func (p *Process) ping(ctx context.Context) error {
	o := p.clientOptions()
	// A bare connection first: the client logs every dial that fails.
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
		return fmt.Errorf("process %s answers, and not %d", pid, p.PID())
	}
	return nil
}

// PID is the process' ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill9 ends the process at once and waits for its end. It may be called again.
func (p *Process) Kill9() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Restart starts the process again at the same address, after Kill9 or instead of it. Without [AOF] it is empty.
func (p *Process) Restart() {
	p.t.Helper()
	p.Kill9()
	if !p.launch() {
		p.t.Fatalf("redis-server could not get its port %d back", p.port)
	}
}

// Stop freezes the process: connections stay open and nothing is answered until Cont.
func (p *Process) Stop() { p.signal(syscall.SIGSTOP) }

// Cont lets a frozen process go on.
func (p *Process) Cont() { p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("send %s to redis-server: %v", s, err)
	}
}

func (p *Process) log() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// poll tries until it works, fails with a fatal error, or ctx ends, and then returns the last error.
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
