package s3

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/batchagent/batchagent/internal/fault"
)

// Scheme begins the name of an object.
const Scheme = "s3://"

// Is reports whether a file name names an object.
func Is(name string) bool { return strings.HasPrefix(name, Scheme) }

// Name names an object.
type Name struct{ Bucket, Key string }

func (n Name) String() string { return Scheme + n.Bucket + "/" + n.Key }

// Parse reads a name such as s3://bucket/key.
func Parse(text string) (Name, error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(text, Scheme), "/")
	switch {
	case !Is(text) || bucket == "" || key == "" || strings.HasSuffix(key, "/"):
		return Name{}, fault.Usagef("%q does not name an object; write s3://bucket/key", text)
	case strings.ContainsAny(bucket, "?#@:%") || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' }):
		return Name{}, fault.Usagef("%q has characters that no name of a bucket or object has", text)
	}
	for _, part := range strings.Split(key, "/") {
		if part == "." || part == ".." {
			return Name{}, fault.Usagef("%q has the part %q, which servers read as a path; write the whole key", text, part)
		}
	}
	return Name{bucket, key}, nil
}

// answerWithin limits the wait for the beginning of an answer, from the last byte of the request.
const answerWithin = 60 * time.Second

// Names of the variables.
const (
	keyVariable     = "AWS_ACCESS_KEY_ID"
	secretVariable  = "AWS_SECRET_ACCESS_KEY" //nolint:gosec // the name, not the secret
	sessionVariable = "AWS_SESSION_TOKEN"
)

// Client talks to one store. It is safe for concurrent use.
type Client struct {
	endpoint   *url.URL // nil is AWS
	region     string
	keys       aws.Credentials
	signer     *v4.Signer
	http       *http.Client
	firstWait  time.Duration // before the second try
	stallAfter time.Duration
}

// FromEnv returns the client of the store that the environment describes. It does not connect.
func FromEnv(getenv func(string) string) (*Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = answerWithin
	transport.DisableCompression = true // an object is the bytes that the store has, whatever its Content-Encoding
	c := &Client{
		region:    cmp.Or(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION"), "us-east-1"),
		keys:      aws.Credentials{AccessKeyID: getenv(keyVariable), SecretAccessKey: getenv(secretVariable), SessionToken: getenv(sessionVariable)},
		signer:    v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
		http:      &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		firstWait: 500 * time.Millisecond, stallAfter: stallAfter,
	}
	if c.keys.AccessKeyID == "" || c.keys.SecretAccessKey == "" {
		return nil, fault.Usagef("s3:// needs credentials: set %s and %s, and for another store than AWS AWS_ENDPOINT_URL", keyVariable, secretVariable)
	}
	if text := cmp.Or(getenv("AWS_ENDPOINT_URL_S3"), getenv("AWS_ENDPOINT_URL")); text != "" {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
			return nil, fault.Usagef("AWS_ENDPOINT_URL is no URL such as https://s3.example.org; it takes no user and password")
		}
		c.endpoint = u
	}
	return c, nil
}

// Close closes the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// address returns the URL of an object. Stores other than AWS have buckets as folders.
func (c *Client) address(n Name) *url.URL {
	u := &url.URL{Scheme: "https", Host: n.Bucket + ".s3." + c.region + ".amazonaws.com", Path: "/" + n.Key}
	switch {
	case c.endpoint != nil:
		*u = *c.endpoint
		u.Path = strings.TrimSuffix(u.Path, "/") + "/" + n.Bucket + "/" + n.Key
	case strings.Contains(n.Bucket, "."): // a certificate for *.s3… covers no further dot
		u.Host, u.Path = "s3."+c.region+".amazonaws.com", "/"+n.Bucket+"/"+n.Key
	}
	u.RawPath = escapePath(u.Path)
	return u
}

// escapePath escapes a path as signatures need it: everything but letters, digits and -._~/.
func escapePath(path string) string {
	var b strings.Builder
	for i := range len(path) {
		switch ch := path[i]; {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9', strings.IndexByte("-._~/", ch) >= 0:
			b.WriteByte(ch)
		default:
			fmt.Fprintf(&b, "%%%02X", ch)
		}
	}
	return b.String()
}

// Endpoint returns the address of the store, for messages.
func (c *Client) Endpoint() string {
	if c.endpoint == nil {
		return "s3." + c.region + ".amazonaws.com"
	}
	return c.endpoint.Scheme + "://" + c.endpoint.Host
}
