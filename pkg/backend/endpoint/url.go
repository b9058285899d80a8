package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// URL is a parsed endpoint URL.
type URL struct {
	Shown string // as the user wrote it, for logs and errors
	Root  string // http or https, without a trailing slash and without /v1
	Plain bool   // not encrypted, and not to this machine
}

// Scheme says how a URL scheme is reached.
type Scheme struct {
	HTTP string // "http" or "https"
	Port string // when the URL names none; "" leaves the scheme's own
}

// ParseURL parses an endpoint URL by the schemes that an adapter knows. A path is a prefix of the server's routes; a
// "/v1" at its end is understood and dropped. A URL that carries a user, a password or a query is refused without
// repeating it: keyHint says where a key belongs.
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
		Plain: scheme.HTTP == "http" && !isLoopback(u.Hostname()),
	}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
