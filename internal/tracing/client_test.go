package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// collector records the requests of exporters.
type collector struct {
	header http.Header
	path   string
	spans  []*tracepb.Span
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.header, c.path = r.Header, r.URL.Path
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	text, _ := io.ReadAll(body)
	var sent tracepb.TracesData
	if proto.Unmarshal(text, &sent) != nil {
		http.Error(w, "no spans", http.StatusBadRequest)
		return
	}
	for _, of := range sent.ResourceSpans {
		for _, scope := range of.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
}

// A collector gets the spans by TLS with a private authority, compressed, with the headers, below the path of the endpoint.
func TestSpansReachACollector(t *testing.T) {
	var c collector
	server := httptest.NewTLSServer(&c)
	defer server.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	env := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT":    server.URL + "/tenant",
		"OTEL_EXPORTER_OTLP_CERTIFICATE": authority,
		"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
		"OTEL_EXPORTER_OTLP_HEADERS":     "api-key=a%20b, tenant=t",
	}
	tracer, stop, err := Start(t.Context(), Config{Service: "test", Getenv: func(k string) string { return env[k] }, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	_, span := tracer.Start(t.Context(), "job")
	span.End()
	stop()
	require.Len(t, c.spans, 1)
	assert.Equal(t, "job", c.spans[0].Name)
	assert.Equal(t, "/tenant/v1/traces", c.path)
	assert.Equal(t, "a b", c.header.Get("Api-Key"))
	assert.Equal(t, "t", c.header.Get("Tenant"))
	assert.Equal(t, "application/x-protobuf", c.header.Get("Content-Type"))
}

type answers []http.Response

func (a *answers) RoundTrip(*http.Request) (*http.Response, error) {
	next := (*a)[0]
	*a = (*a)[1:]
	if next.StatusCode == 0 {
		return nil, errors.New("connection refused")
	}
	if next.Body == nil {
		next.Body = http.NoBody
	}
	return &next, nil
}

// The client repeats a request if the collector may accept it later, after the time that the collector names, and never otherwise.
func TestRequestsAreRepeated(t *testing.T) {
	t.Parallel()
	dropped := protowire.AppendTag(nil, 1, protowire.BytesType)
	dropped = protowire.AppendBytes(dropped, protowire.AppendString(protowire.AppendTag(
		protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 7), 2, protowire.BytesType), "too old"))
	body := func(text []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(text)) }
	for name, c := range map[string]struct {
		answers answers
		left    int
		atLeast time.Duration
		says    string
	}{
		"refused connection": {answers: answers{{}, {StatusCode: 200}}},
		"busy":               {answers: answers{{StatusCode: 503, Status: "503 Busy", Header: http.Header{"Retry-After": {"20"}}}, {StatusCode: 200}}, atLeast: 20 * time.Second},
		"busy for a moment":  {answers: answers{{StatusCode: 503, Status: "503 Busy", Header: http.Header{"Retry-After": {"0.5"}}}, {StatusCode: 200}}, atLeast: 500 * time.Millisecond},
		"wrong":              {answers: answers{{StatusCode: 400, Status: "400 Bad Request"}, {StatusCode: 200}}, left: 1, says: "http://c/v1/traces: 400 Bad Request"},
		"redirect":           {answers: answers{{StatusCode: 301, Status: "301 Moved", Header: http.Header{"Location": {"http://other"}}}, {StatusCode: 200}}, left: 1, says: "301"},
		"dropped":            {answers: answers{{StatusCode: 200, Body: body(dropped)}, {StatusCode: 200}}, left: 1, says: "dropped 7 spans: too old"},
		"odd answer":         {answers: answers{{StatusCode: 200, Body: body([]byte("\x0a\xff{}"))}}},
		"always busy":        {answers: repeated(http.Response{StatusCode: 429, Status: "429 Slow"}, 1000), left: -1, says: "429"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, err := newClient(func(k string) string { return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}[k] })
				require.NoError(t, err)
				client.http.Transport = &c.answers
				begun := time.Now()
				err = client.UploadTraces(t.Context(), nil)
				if c.says == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, c.says)
				}
				if c.left >= 0 {
					assert.Len(t, c.answers, c.left)
				}
				assert.GreaterOrEqual(t, time.Since(begun), c.atLeast)
				assert.LessOrEqual(t, time.Since(begun), retryFor)
			})
		})
	}
}

func repeated(r http.Response, n int) answers {
	out := make(answers, n)
	for i := range out {
		out[i] = r
	}
	return out
}

func TestUnusableSettingsAreErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ value, says string }{
		"ENDPOINT":           {"collector:4318", "http://collector:4318"},
		"TRACES_ENDPOINT":    {"http://", "http://collector:4318"},
		"COMPRESSION":        {"zstd", "gzip or none"},
		"TIMEOUT":            {"10s", "milliseconds"},
		"HEADERS":            {"secret-without-name", "name=value"},
		"TRACES_HEADERS":     {"a=%zz", "name=value"},
		"CERTIFICATE":        {"/missing.pem", "/missing.pem"},
		"CLIENT_CERTIFICATE": {"/missing.pem", "/missing.pem"},
	} {
		_, err := newClient(func(k string) string { return map[string]string{"OTEL_EXPORTER_OTLP_" + name: c.value}[k] })
		require.ErrorContains(t, err, c.says, name)
		if strings.HasSuffix(name, "HEADERS") {
			assert.NotContains(t, err.Error(), c.value)
		}
	}
}

func TestTheVariableForTracesIsTheWholeURL(t *testing.T) {
	t.Parallel()
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://all/base", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces/in"}
	client, err := newClient(func(k string) string { return env[k] })
	require.NoError(t, err)
	assert.Equal(t, "https://traces/in", client.url)
	assert.Equal(t, uint16(tls.VersionTLS12), client.http.Transport.(*http.Transport).TLSClientConfig.MinVersion)
	client, err = newClient(func(string) string { return "" })
	require.NoError(t, err)
	assert.Equal(t, "http://localhost:4318/v1/traces", client.url)
	require.NoError(t, client.Stop(context.Background()))
}
