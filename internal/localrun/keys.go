package localrun

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/pkg/loopback"
)

// keyPolicy decides which model servers receive the keys of this process. A spec may be untrusted, and its backend must
// not collect keys. Keys go only to servers that the operator named, to this machine, and to listed hosts.
type keyPolicy struct {
	named    []string // URLs of --backend and BATCHAGENT_BACKEND
	hosts    []string // host or host:port, from BATCHAGENT_KEY_HOSTS
	insecure bool     // send keys without encryption to listed hosts, too
	getenv   func(string) string
}

// homes maps the scheme of a public service to its host and to the variable of its key.
var homes = map[string]struct{ host, key string }{
	"openai":    {"api.openai.com", "OPENAI_API_KEY"},
	"anthropic": {"api.anthropic.com", "ANTHROPIC_API_KEY"},
}

func newKeyPolicy(getenv func(string) string, insecure bool, named ...string) keyPolicy {
	p := keyPolicy{getenv: getenv, insecure: insecure, named: named}
	for h := range strings.SplitSeq(getenv("BATCHAGENT_KEY_HOSTS"), ",") {
		if h = strings.ToLower(strings.TrimSpace(h)); h != "" {
			p.hosts = append(p.hosts, h)
		}
	}
	return p
}

// environment returns a lookup of the variables that the backend may read. withheld names the hidden keys, the reason
// and the remedy; "" if no key is hidden.
func (p keyPolicy) environment(backend string) (getenv func(string) string, withheld string) {
	s, ok := readServer(backend)
	if !ok {
		return p.getenv, "" // no adapter opens this URL
	}
	reason := p.objection(s)
	if reason == "" {
		return p.getenv, ""
	}
	own := ""
	if home, public := homes[s.scheme]; public && s.name == home.host && (s.port == "" || s.port == "443") {
		own = home.key
	}
	var kept []string
	for _, name := range config.ModelKeys {
		if name != own && strings.TrimSpace(p.getenv(name)) != "" {
			kept = append(kept, name)
		}
	}
	getenv = func(name string) string {
		if name != own && slices.Contains(config.ModelKeys, name) {
			return ""
		}
		return p.getenv(name)
	}
	if len(kept) == 0 || own != "" && strings.TrimSpace(p.getenv(own)) != "" {
		return getenv, ""
	}
	return getenv, fmt.Sprintf("%s is not sent to %s: %s", strings.Join(kept, ", "), s.shown(), reason)
}

// objection returns the reason why a server gets no keys, and the remedy; "" if it gets them.
func (p keyPolicy) objection(s server) string {
	for _, url := range p.named {
		if n, ok := readServer(url); ok && n.name == s.name && (n.plain || !s.plain) {
			return ""
		}
	}
	switch {
	case s.loopback():
		return ""
	case !slices.Contains(p.hosts, s.name) && !slices.Contains(p.hosts, net.JoinHostPort(s.name, s.port)):
		return fmt.Sprintf("only the spec names this server; if it may have the key, name the server with --backend, or set BATCHAGENT_KEY_HOSTS=%s", s.name)
	case s.plain && !p.insecure:
		return "the connection is not encrypted; use an https URL, or allow it with --insecure-keys"
	}
	return ""
}

// server is the address in a backend's URL.
type server struct {
	scheme, name, port string
	plain              bool // not encrypted
}

func readServer(raw string) (server, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" || u.Scheme == "bedrock" { // Bedrock signs requests and sends no key
		return server{}, false
	}
	s := server{scheme: strings.ToLower(u.Scheme), name: strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), port: u.Port()}
	if home, ok := homes[s.scheme]; ok && s.name == "" {
		s.name = home.host
	}
	s.plain = !strings.HasSuffix(s.scheme, "https") && s.scheme != "openai" && s.scheme != "anthropic"
	return s, true
}

func (s server) shown() string {
	if s.port == "" {
		return s.name
	}
	return net.JoinHostPort(s.name, s.port)
}

func (s server) loopback() bool {
	return loopback.Host(s.name)
}
