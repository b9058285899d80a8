package owntool

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strings"

	"go.opentelemetry.io/otel/propagation"

	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const defaultAnswer = 64 << 10

// HTTP is a tool that calls a web service. The service may be on a private network, because only the operator sets its address.
type HTTP struct {
	Name        string
	Description string
	Parameters  json.RawMessage // JSON Schema of an object
	Method      string          // Defaults to GET, or to POST with Body.
	// URL may contain {name} in its path. Values are escaped. No segment of a value may be "." or "..".
	URL     string
	Query   map[string]string // values may contain {name}; one without any given placeholder is omitted
	Headers map[string]string // constant, such as keys
	Body    bool              // send the arguments as JSON
	// MaxAnswer limits the kept bytes of an answer. Defaults to 64 KiB.
	MaxAnswer int
	// Secrets are redacted in answers before they are cut. Nil redacts nothing.
	Secrets *redact.Secrets
}

// Tool checks the declaration and returns the tool. It follows redirects on the same host only, because a redirect
// would send headers to another host. The caller owns the transport and closes its connections after the last call.
func (h HTTP) Tool(transport http.RoundTripper) (toolpool.Tool, error) {
	fixed, err := url.Parse(placeholder.ReplaceAllString(h.URL, "x"))
	if err != nil || fixed.Host == "" || fixed.Scheme != "http" && fixed.Scheme != "https" {
		return toolpool.Tool{}, fmt.Errorf("http tool %s: the url must begin with https:// or http://, and a host follows", h.Name)
	}
	rest := h.URL[strings.Index(h.URL, "://")+3:]
	if host, _, _ := strings.Cut(rest, "/"); len(names(host)) > 0 {
		return toolpool.Tool{}, fmt.Errorf("http tool %s: the url's host must not hold a placeholder", h.Name)
	}
	if path, query, _ := strings.Cut(h.URL, "?"); len(names(query)) > 0 {
		return toolpool.Tool{}, fmt.Errorf("http tool %s: the parameters after %q belong under the field query", h.Name, path)
	}
	texts := []string{h.URL}
	for _, v := range h.Query {
		texts = append(texts, v)
	}
	if err := checkPlaceholders(h.Parameters, texts...); err != nil {
		return toolpool.Tool{}, fmt.Errorf("http tool %s: %w", h.Name, err)
	}
	if h.Method == "" {
		h.Method = http.MethodGet
		if h.Body {
			h.Method = http.MethodPost
		}
	}
	if h.MaxAnswer <= 0 {
		h.MaxAnswer = defaultAnswer
	}
	client := &http.Client{
		Transport: transport,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme || len(via) > 5 {
				return errRedirects
			}
			return nil
		},
	}
	tool := toolpool.Tool{
		Name: h.Name, Description: h.Description, Parameters: h.Parameters, MaxBytes: h.MaxAnswer + 200,
		Run: func(ctx context.Context, raw json.RawMessage) (string, error) { return h.call(ctx, client, raw) },
	}
	if h.Method != http.MethodGet && h.Method != http.MethodHead {
		tool.Share = toolpool.Effect
	}
	return tool, nil
}

// errRedirects is the error of a redirect to another host.
var errRedirects = errors.New("it redirects to another host")

func (h HTTP) call(ctx context.Context, client *http.Client, raw json.RawMessage) (string, error) {
	args, err := readArgs(raw)
	if err != nil {
		return "", err
	}
	req, err := h.request(ctx, args, raw)
	if err != nil {
		return "", err
	}
	connected := false
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }}))
	resp, err := client.Do(req)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, errRedirects):
		return "", toolpool.Unanswered(fmt.Errorf("%s redirects to another host, so its answer is not read", h.Name))
	case connected:
		return "", toolpool.Unanswered(fmt.Errorf("%s closed the connection without an answer", h.Name))
	default:
		return "", toolpool.Transient(fmt.Errorf("%s cannot be reached; go on without it or try again later", h.Name), 0)
	}
	defer resp.Body.Close() // read up to the limit
	body, err := io.ReadAll(io.LimitReader(h.Secrets.Reader(resp.Body), int64(h.MaxAnswer)+1))
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", toolpool.Unanswered(fmt.Errorf("%s ended its answer early", h.Name))
	}
	text := string(body)
	if len(body) > h.MaxAnswer {
		text = fmt.Sprintf("%s\n[cut: the answer is longer than %d bytes]", strings.ToValidUTF8(text[:h.MaxAnswer], ""), h.MaxAnswer)
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return text, nil
	}
	err = fmt.Errorf("%s answered %s: %.1000s", h.Name, resp.Status, text)
	switch resp.StatusCode {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout: // it failed in the middle of the call
		err = toolpool.Unanswered(err)
	}
	return "", toolpool.HTTPStatus(resp, err)
}

// climbs reports whether a server could find a "." or ".." segment in a path, even if it decodes the path twice.
func climbs(path string) bool {
	for range 4 {
		for _, part := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' }) {
			// Some servers cut parameters, spaces or everything after a NUL: "..;x" is "..".
			part, _, _ = strings.Cut(part, ";")
			part, _, _ = strings.Cut(part, "\x00")
			if part = strings.TrimSpace(part); part == "." || part == ".." {
				return true
			}
		}
		decoded := decode(path)
		if decoded == path {
			return false
		}
		path = decoded
	}
	return true // encoded many times
}

var encodedByte = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// decode decodes the valid escapes and keeps the rest, as some servers do.
func decode(path string) string {
	return encodedByte.ReplaceAllStringFunc(path, func(e string) string {
		b, err := hex.DecodeString(e[1:])
		if err != nil {
			return e
		}
		return string(b)
	})
}

func (h HTTP) request(ctx context.Context, args map[string]any, raw json.RawMessage) (*http.Request, error) {
	var bad error
	address, _ := fill(h.URL, args, func(s string) string {
		if climbs(s) {
			bad = fmt.Errorf("%q cannot be part of a path", s)
		}
		return url.PathEscape(s)
	})
	if bad != nil {
		return nil, bad
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the arguments make no valid url")
	}
	if fixed, _ := fill(h.URL, nil, nil); climbs(u.EscapedPath()) && !climbs(fixed) {
		return nil, errors.New("the arguments make a path with a parent folder")
	}
	q := u.Query()
	for name, text := range h.Query {
		if value, given := fill(text, args, func(s string) string { return s }); given || len(names(text)) == 0 {
			q.Set(name, value)
		}
	}
	u.RawQuery = q.Encode()
	var body io.Reader
	if h.Body {
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, h.Method, u.String(), body)
	if err != nil {
		return nil, errors.New("the arguments make no valid request")
	}
	req.Header.Set("User-Agent", "batchagent")
	if h.Body {
		req.Header.Set("Content-Type", "application/json")
	}
	if key := toolpool.IdempotencyKey(ctx); key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(req.Header)) // a no-op if the call is not traced
	for name, value := range h.Headers {
		req.Header.Set(name, value)
	}
	return req, nil
}
