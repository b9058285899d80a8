package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/batchagent/batchagent/pkg/loopback"
)

// URL is a parsed endpoint URL.
type URL struct {
	Shown string // as the user wrote it, for logs and errors
	Root  string // base URL with http or https, without a trailing slash and without /v1
	Plain bool   // unencrypted, and to another machine
}

// Scheme defines the HTTP scheme and port for a URL scheme.
type Scheme struct {
	HTTP string // "http" or "https"
	Port string // used when the URL has none; "" uses the scheme's own default
}

// ParseURL parses an endpoint URL with one of the adapter's schemes. A path is a prefix of the server's routes; a final
// "/v1" is dropped. ParseURL refuses a URL with a user, password, query or fragment, without repeating the URL. keyHint
// names the right place for a key.
func ParseURL(raw string, schemes map[string]Scheme, keyHint string) (URL, error) {
	u, err := url.Parse(raw)
	if strings.ContainsAny(raw, "@?#") {
		return URL{}, fmt.Errorf("a backend URL takes no user, password, query or fragment; give a key in the environment: %s", keyHint)
	}
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return URL{}, fmt.Errorf("backend URL %q: %w", raw, err)
	}
	scheme, ok := schemes[u.Scheme]
	if !ok {
		return URL{}, fmt.Errorf("backend URL %q: unknown scheme %q", raw, u.Scheme)
	}
	host := u.Host
	if u.Hostname() == "" {
		return URL{}, fmt.Errorf("backend URL %q names no host; write %s://host:port", raw, u.Scheme)
	}
	if u.Port() == "" && scheme.Port != "" {
		host = net.JoinHostPort(u.Hostname(), scheme.Port)
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	path = strings.TrimRight(strings.TrimSuffix(path, "/v1"), "/")
	return URL{
		Shown: strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"),
		Root:  scheme.HTTP + "://" + host + path,
		Plain: scheme.HTTP == "http" && !loopback.Host(u.Hostname()),
	}, nil
}
