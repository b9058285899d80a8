package endpoint

import (
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Traced is a transport that tells the server which span of a trace its caller is in: the header traceparent of
// https://www.w3.org/TR/trace-context/. Requests whose context holds no span pass as they are.
type Traced struct{ Base http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t Traced) RoundTrip(r *http.Request) (*http.Response, error) {
	if trace.SpanContextFromContext(r.Context()).IsValid() {
		r = r.Clone(r.Context())
		propagation.TraceContext{}.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
	}
	return t.Base.RoundTrip(r)
}

// CloseIdleConnections lets [http.Client] close them.
func (t Traced) CloseIdleConnections() {
	if c, ok := t.Base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
