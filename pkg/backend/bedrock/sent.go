package bedrock

import (
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/batchagent/batchagent/pkg/redact"
)

// sentSecrets remembers the secrets of the last request, which its answer may repeat: a bearer token and a session
// token. The SDK may replace them at any time. Keys that sign a request are never sent.
type sentSecrets struct {
	base http.RoundTripper
	last atomic.Pointer[sentTokens]
}

type sentTokens struct {
	bearer, session string
	secrets         *redact.Secrets
}

// RoundTrip implements [http.RoundTripper].
func (s *sentSecrets) RoundTrip(r *http.Request) (*http.Response, error) {
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if strings.Contains(bearer, "Signature=") {
		bearer = "" // a signature is not a secret
	}
	session := r.Header.Get("X-Amz-Security-Token")
	if last := s.last.Load(); bearer+session != "" && (last == nil || last.bearer != bearer || last.session != session) {
		s.last.Store(&sentTokens{bearer, session, redact.New(bearer, session)})
	}
	return s.base.RoundTrip(r)
}

// CloseIdleConnections is called by [http.Client].
func (s *sentSecrets) CloseIdleConnections() {
	if c, ok := s.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// secrets returns the secrets of the last request.
func (s *sentSecrets) secrets() *redact.Secrets {
	if last := s.last.Load(); last != nil {
		return last.secrets
	}
	return nil
}
