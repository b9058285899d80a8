package tracing

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/batchagent/batchagent/pkg/retryafter"
)

const (
	sendTimeout = 10 * time.Second // the default of the specification
	retryFor    = time.Minute      // the longest time for which one request is repeated
	maxAnswer   = 64 << 10         // bytes read of a collector's answer
)

// client sends spans to a collector by OTLP over HTTP. It reads the variables of
// https://opentelemetry.io/docs/specs/otel/protocol/exporter/. OpenTelemetry's own client is not used, because it contains gRPC: six
// percent of the processor time of a first build.
type client struct {
	http    *http.Client
	url     string
	header  http.Header
	gzip    bool
	timeout time.Duration // of one request
}

// newClient returns a client for the settings of the environment. It does not connect.
func newClient(getenv func(string) string) (*client, error) {
	endpoint, err := endpointOf(getenv)
	if err != nil {
		return nil, err
	}
	header, err := headersOf(setting(getenv, "HEADERS"))
	if err != nil {
		return nil, err
	}
	c := &client{url: endpoint, header: header, timeout: sendTimeout}
	switch how := setting(getenv, "COMPRESSION"); how {
	case "", "none":
	case "gzip":
		c.gzip = true
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_COMPRESSION is %q; set it to gzip or none", how)
	}
	if text := setting(getenv, "TIMEOUT"); text != "" {
		ms, err := strconv.Atoi(text)
		if err != nil || ms <= 0 {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_TIMEOUT is %q; set it to a number of milliseconds", text)
		}
		c.timeout = time.Duration(ms) * time.Millisecond
	}
	security, err := tlsOf(getenv)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() // the standard library's default has this type
	transport.TLSClientConfig = security
	// A redirect would turn the request into a GET without spans, and send the headers along.
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// setting returns a variable of the exporter. The variable for traces comes before the one for all signals.
func setting(getenv func(string) string, name string) string {
	return strings.TrimSpace(cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_"+name), getenv("OTEL_EXPORTER_OTLP_"+name)))
}

// endpointOf returns the URL for spans. The variable for traces is this URL; the one for all signals is its base.
func endpointOf(getenv func(string) string) (string, error) {
	name, path := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""
	if getenv(name) == "" {
		name, path = "OTEL_EXPORTER_OTLP_ENDPOINT", "v1/traces"
	}
	text := cmp.Or(strings.TrimSpace(getenv(name)), "http://localhost:4318")
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%s is %q; set it to a URL such as http://collector:4318", name, text)
	}
	if path != "" {
		u = u.JoinPath(path)
	}
	return u.String(), nil
}

// headersOf reads pairs such as api-key=secret,tenant=a. Values are percent-encoded. Errors do not repeat them.
func headersOf(text string) (http.Header, error) {
	out := http.Header{}
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		decoded, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !ok || name == "" || err != nil {
			return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS has an unreadable part; write name=value,name=value with percent-encoded values")
		}
		out.Set(name, decoded)
	}
	return out, nil
}

func tlsOf(getenv func(string) string) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if path := setting(getenv, "CERTIFICATE"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %s has no certificate in PEM format", path)
		}
	}
	certificate, key := setting(getenv, "CLIENT_CERTIFICATE"), setting(getenv, "CLIENT_KEY")
	if certificate == "" && key == "" {
		return out, nil
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("read OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY: %w", err)
	}
	out.Certificates = []tls.Certificate{pair}
	return out, nil
}

// Start implements otlptrace.Client.
func (c *client) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. It repeats a request that the collector may accept later, for at most a minute.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// The message of a request has the same fields as a file of spans, whose package needs no gRPC.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	if c.gzip {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(body) // a buffer takes everything
		_ = w.Close()
		body = b.Bytes()
	}
	_, err = backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, c.send(ctx, body) }, backoff.WithMaxElapsedTime(retryFor))
	return err
}

// send makes one request. A permanent error is marked for package backoff.
func (c *client) send(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return backoff.Permanent(err)
	}
	req.Header = c.header.Clone()
	req.Header.Set("Content-Type", "application/x-protobuf")
	if c.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("send spans: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch {
	case answer.StatusCode == http.StatusOK && err == nil:
		return rejected(text)
	case answer.StatusCode/100 == 2:
		return nil
	}
	err = fmt.Errorf("send spans to %s: %s", req.URL.Redacted(), answer.Status)
	switch answer.StatusCode { // the specification's list
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if after := retryafter.Read(answer.Header, time.Now()); after > 0 {
			return errors.Join(err, &backoff.RetryAfterError{Duration: after})
		}
		return err
	}
	return backoff.Permanent(err)
}

// rejected returns an error if the collector dropped spans. Then its answer has a message in field 1: the number of spans, and a reason.
func rejected(answer []byte) error {
	partial := field(answer, 1, protowire.BytesType)
	if partial == nil {
		return nil
	}
	message, _ := protowire.ConsumeBytes(partial)
	count, _ := protowire.ConsumeVarint(field(message, 1, protowire.VarintType))
	reason, _ := protowire.ConsumeString(field(message, 2, protowire.BytesType))
	if count == 0 && reason == "" {
		return nil
	}
	return backoff.Permanent(fmt.Errorf("the collector dropped %d spans: %s", count, reason))
}

// field returns the encoded value of a field of a message, with what follows it; nil if the message has none.
func field(message []byte, number protowire.Number, kind protowire.Type) []byte {
	for len(message) > 0 {
		n, k, size := protowire.ConsumeTag(message)
		if size < 0 {
			return nil
		}
		message = message[size:]
		if n == number && k == kind {
			return message
		}
		if size = protowire.ConsumeFieldValue(n, k, message); size < 0 {
			return nil
		}
		message = message[size:]
	}
	return nil
}
