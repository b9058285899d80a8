package bedrock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/smithy-go/auth/bearer"
	"github.com/aws/smithy-go/logging"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/blocks"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// readyTimeout limits the wait of Ready for an answer.
const readyTimeout = 10 * time.Second

// Declared are the adapter's capabilities. Quotas of new accounts are as low as one request at a time.
var Declared = backend.Capabilities{
	Name: "bedrock", PrefixCache: true, PrefixPinned: true, PrefixLate: true, CachedUsage: true, StructuredOutput: true,
	StartConcurrent: 1, MaxConcurrent: 8,
}

// Config describes one region and model.
type Config struct {
	URL         string
	Endpoint    string                  // http(s) URL. Defaults to AWS_ENDPOINT_URL_BEDROCK_RUNTIME, or the region's endpoint without it.
	Credentials aws.CredentialsProvider // Defaults to the keys from Getenv, or the SDK's chain without them.
	Getenv      func(string) string     // Returns keys that were removed from the environment. Nil has none.
	Logger      *slog.Logger            // Defaults to discarding.
	Transport   http.RoundTripper       // Defaults to endpoint.NewTransport.
}

// Backend is Bedrock in one region. It implements [backend.Backend].
type Backend struct {
	client   *bedrockruntime.Client
	http     *http.Client
	endpoint string // http(s) URL
	shown    string
	model    string // from the URL; "" if it has none
	log      *slog.Logger
	refusals endpoint.Refusals
	sent     *sentSecrets
}

// New returns a backend. It reads the AWS configuration and does not connect.
func New(ctx context.Context, cfg Config) (*Backend, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	region, model, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	load := []func(*config.LoadOptions) error{
		// Without a logger the SDK writes its warnings to standard error.
		config.WithLogger(logging.LoggerFunc(func(_ logging.Classification, format string, v ...any) {
			cfg.Logger.Debug("AWS SDK: " + fmt.Sprintf(format, v...))
		})),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	}
	if region != "" {
		load = append(load, config.WithRegion(region))
	}
	token := ""
	if cfg.Credentials == nil && cfg.Getenv != nil {
		cfg.Credentials, token = taken(cfg.Getenv)
	}
	if cfg.Credentials != nil {
		load = append(load, config.WithCredentialsProvider(cfg.Credentials))
	}
	ac, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	if ac.Region == "" {
		return nil, errors.New("no AWS region is named: write bedrock://region/model or set AWS_REGION")
	}
	if cfg.Transport == nil {
		cfg.Transport = transport(ac)
	}
	sent := &sentSecrets{base: cfg.Transport}
	client := &http.Client{
		Transport:     blocks.Watched{Base: ownBody{endpoint.Traced{Base: sent}}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	b := &Backend{http: client, model: model, log: cfg.Logger, sent: sent, shown: strings.TrimRight("bedrock://"+ac.Region+"/"+model, "/")}
	b.client = bedrockruntime.NewFromConfig(ac, func(o *bedrockruntime.Options) {
		o.HTTPClient = client
		if token != "" {
			o.BearerAuthTokenProvider = bearer.StaticTokenProvider{Token: bearer.Token{Value: token}}
			o.AuthSchemePreference = []string{"httpBearerAuth"}
		}
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
		}
	})
	if b.endpoint, err = resolve(ctx, b.client.Options()); err != nil {
		return nil, fmt.Errorf("find the Bedrock endpoint of %s: %w", ac.Region, err)
	}
	return b, nil
}

// taken returns the credentials that the SDK would read from the environment: a pair of keys or nil, and a bearer token or "".
func taken(getenv func(string) string) (aws.CredentialsProvider, string) {
	id, secret := getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY")
	token := getenv("AWS_BEARER_TOKEN_BEDROCK")
	if id == "" || secret == "" {
		return nil, token
	}
	return awscredentials.NewStaticCredentialsProvider(id, secret, getenv("AWS_SESSION_TOKEN")), token
}

// transport returns a transport for many long streams, with the certificates of AWS_CA_BUNDLE.
func transport(ac aws.Config) *http.Transport {
	t := endpoint.NewTransport()
	if c, ok := ac.HTTPClient.(*awshttp.BuildableClient); ok {
		t.TLSClientConfig = c.GetTransport().TLSClientConfig
	}
	return t
}

// ownBody sends a copy of the request's body. The SDK closes its own body as soon as the answer's headers have arrived.
// A transport that is still reading that body would then drop the connection and the answer.
type ownBody struct{ base http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (o ownBody) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return o.base.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("read the request's body: %w", err)
	}
	sent := r.Clone(r.Context())
	sent.Body, sent.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return o.base.RoundTrip(sent)
}

// CloseIdleConnections is called by http.Client.
func (o ownBody) CloseIdleConnections() {
	if c, ok := o.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func resolve(ctx context.Context, o bedrockruntime.Options) (string, error) {
	e, err := o.EndpointResolverV2.ResolveEndpoint(ctx, bedrockruntime.EndpointParameters{
		Region: &o.Region, Endpoint: o.BaseEndpoint, UseDualStack: aws.Bool(false), UseFIPS: aws.Bool(false),
	})
	return e.URI.String(), err
}

// Models returns the model of the URL.
func (b *Backend) Models(context.Context) ([]backend.Model, error) {
	if b.model == "" {
		return nil, b.located(&backend.Error{Class: backend.UnknownModel, Message: "name the model in the URL: bedrock://region/model"})
	}
	return []backend.Model{{ID: b.model}}, nil
}

// Ready returns nil if the endpoint answers and credentials are available. It generates nothing.
func (b *Backend) Ready(ctx context.Context) error {
	o := b.client.Options()
	if o.Credentials != nil && o.BearerAuthTokenProvider == nil {
		if _, err := o.Credentials.Retrieve(ctx); err != nil {
			return b.failure(ctx, &credentialsError{err})
		}
	}
	bounded, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(bounded, http.MethodGet, b.endpoint, nil)
	if err != nil {
		return b.failure(ctx, err)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return b.failure(ctx, err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode >= http.StatusInternalServerError {
		return b.located(&backend.Error{Class: class("", "", resp.StatusCode), Status: resp.StatusCode, Message: http.StatusText(resp.StatusCode)})
	}
	return nil
}

// Capabilities returns Declared.
func (b *Backend) Capabilities() backend.Capabilities { return Declared }

// Endpoint returns bedrock://region/model.
func (b *Backend) Endpoint() string { return b.shown }

// Close closes idle connections.
func (b *Backend) Close() error {
	b.http.CloseIdleConnections()
	return nil
}

// failure converts the cause of a call's end into the error for its caller.
func (b *Backend) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("model call at %s: %w", b.shown, context.Cause(ctx))
	}
	if be, ok := errors.AsType[*backend.Error](err); ok {
		return b.located(be)
	}
	if e := classify(err, b.sent.secrets(), time.Now()); e != nil {
		return b.located(e)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // its text repeats the URL
	}
	return b.located(&backend.Error{Class: backend.Transient, Err: b.sent.secrets().Error(err)})
}

func (b *Backend) located(e *backend.Error) *backend.Error {
	e.Endpoint, e.Message = b.shown, b.sent.secrets().Text(e.Message)
	return e
}
