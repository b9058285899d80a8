package endpoint

import (
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Traced is a transport that sends the caller's trace span to the server, in the header traceparent of
// https://www.w3.org/TR/trace-context/. Requests without a span in their context are unchanged.
type Traced struct{ Base http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t Traced) RoundTrip(r *http.Request) (*http.Response, error) {
	if trace.SpanContextFromContext(r.Context()).IsValid() {
		r = r.Clone(r.Context())
		propagation.TraceContext{}.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
	}
	return t.Base.RoundTrip(r)
}

// CloseIdleConnections is called by [http.Client].
func (t Traced) CloseIdleConnections() {
	if c, ok := t.Base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
