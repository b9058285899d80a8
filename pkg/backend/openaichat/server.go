package openaichat

import (
	"log/slog"
	"net/http"
	"os"

	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// Server describes one model server on the user's own machines.
type Server struct {
	URL       string
	Getenv    func(string) string // Defaults to os.Getenv.
	Logger    *slog.Logger        // Defaults to discarding.
	Transport http.RoundTripper   // Defaults to endpoint.NewTransport.
}

// Dial returns a client for a server, and the logger in use. It does not connect. The URL has one of the schemes. The first of the
// variables that is set has the API key. Dial warns about a key that is sent unencrypted.
func Dial(s Server, schemes map[string]endpoint.Scheme, d Dialect, variables ...string) (*Client, *slog.Logger, error) {
	if s.Getenv == nil {
		s.Getenv = os.Getenv
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	u, err := endpoint.ParseURL(s.URL, schemes, d.KeyHint)
	if err != nil {
		return nil, nil, err
	}
	key := endpoint.Key(s.Getenv, variables...)
	if key != "" && u.Plain {
		s.Logger.Warn("the API key is sent unencrypted; "+d.Capabilities.Name+"+https:// encrypts it", "endpoint", u.Shown)
	}
	return New(Config{URL: u, Key: key, Transport: s.Transport, Logger: s.Logger, Dialect: d}), s.Logger, nil
}
