package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/sleep"
)

const (
	// tries limits how often a request is sent.
	tries = 5
	// maxError limits the body of an error that is read.
	maxError = 64 << 10
)

// emptySum is the SHA-256 of no bytes.
var emptySum = sumOf(nil)

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Errors of requests. Each has a text of its own.
var (
	// ErrNotExist: the object does not exist.
	ErrNotExist = errors.New("no such object")
	// ErrChanged: the object is not the one that the caller knows.
	ErrChanged = errors.New("the object has changed")
	// errNoConditions: the store has no conditional writes.
	errNoConditions = errors.New("the store has no conditional writes")
	// errNoUpload: the store does not know the parts of an upload. They may be the object already.
	errNoUpload = errors.New("the store no longer has the parts of the upload; try again")
)

// request is one request about an object.
type request struct {
	method string
	name   Name
	query  url.Values
	header map[string]string
	body   io.ReaderAt // nil is no body
	size   int64       // of body
	sum    string      // SHA-256 of body
}

// do sends a request, again after a failure that may pass. The caller closes the body of the answer, whose status is a success.
func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	var err error
	wait := c.firstWait
	for try := range tries {
		if try > 0 {
			if pause := sleep.For(ctx, wait); pause != nil {
				return nil, pause
			}
			wait *= 2
		}
		var resp *http.Response
		var passing bool
		resp, passing, err = c.once(ctx, r)
		if err == nil || !passing || ctx.Err() != nil {
			return resp, err
		}
	}
	return nil, err
}

// once sends a request once. passing reports that another try may succeed.
func (c *Client) once(ctx context.Context, r request) (resp *http.Response, passing bool, err error) {
	u := c.address(r.name)
	u.RawQuery = r.query.Encode()
	watch := newWatch(ctx, c.stallAfter)
	defer func() {
		if resp == nil {
			watch.stop()
		}
	}()
	var body io.Reader
	sum := emptySum
	if r.body != nil {
		body, sum = watchedReader{io.NewSectionReader(r.body, 0, r.size), watch}, r.sum
	}
	req, err := http.NewRequestWithContext(watch.ctx, r.method, u.String(), body)
	if err != nil {
		return nil, false, fmt.Errorf("make a request for %s: %w", r.name, err)
	}
	if req.ContentLength = r.size; r.size == 0 {
		req.Body = nil
	}
	req.Header.Set("X-Amz-Content-Sha256", sum)
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if err := c.signer.SignHTTP(ctx, c.keys, req, sum, "s3", c.region, time.Now()); err != nil {
		return nil, false, fmt.Errorf("sign a request for %s: %w", r.name, err)
	}
	answer, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, false, context.Cause(ctx)
		}
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the query
		}
		err = watch.reason(err)
		return nil, true, &fault.UnreachableError{Err: fmt.Errorf("%s: no answer from %s: %w; see AWS_ENDPOINT_URL and AWS_REGION", r.name, c.Endpoint(), err)}
	}
	watch.restart()
	answer.Body = watchedBody{answer.Body, watch}
	if answer.StatusCode < 300 {
		return answer, false, nil
	}
	defer answer.Body.Close() //nolint:errcheck // nothing was written
	return nil, mayPass(answer.StatusCode), c.refused(r.name, answer)
}

// mayPass reports whether another try may have another status.
func mayPass(status int) bool {
	return status >= 500 && status != http.StatusNotImplemented || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// refused returns the error for an answer that is no success. It never contains what the server repeats of the request.
func (c *Client) refused(n Name, resp *http.Response) error {
	var told struct{ Code, Message, Region string }
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
	_ = xml.Unmarshal(text, &told)
	region := told.Region
	if region == "" {
		region = resp.Header.Get("X-Amz-Bucket-Region")
	}
	switch {
	case resp.StatusCode == http.StatusPreconditionFailed || resp.StatusCode == http.StatusConflict && told.Code == "ConditionalRequestConflict":
		return fmt.Errorf("%s: %w", n, ErrChanged)
	case resp.StatusCode == http.StatusNotImplemented || told.Code == "NotImplemented":
		return fmt.Errorf("%s: %w", n, errNoConditions)
	case told.Code == "NoSuchUpload":
		return &fault.UnreachableError{Err: fmt.Errorf("%s: %w", n, errNoUpload)}
	case told.Code == "NoSuchBucket":
		return fault.Usagef("%s: the bucket %s does not exist at %s; create it, or correct the name", n, n.Bucket, c.Endpoint())
	case resp.StatusCode == http.StatusNotFound && (told.Code == "" || told.Code == "NoSuchKey"):
		return &fault.UsageError{Err: fmt.Errorf("%s: %w", n, ErrNotExist)}
	case told.Code == "InvalidAccessKeyId" || told.Code == "XAdminUserNotFound" || told.Code == "SignatureDoesNotMatch" || told.Code == "InvalidToken" || told.Code == "ExpiredToken" || resp.StatusCode == http.StatusUnauthorized:
		return fault.Usagef("%s: %s refuses the credentials (%s); correct %s, %s and %s", n, c.Endpoint(), codeOf(told.Code, resp), keyVariable, secretVariable, sessionVariable)
	case region != "" && region != c.region && (resp.StatusCode < 400 || told.Code == "AuthorizationHeaderMalformed" || resp.StatusCode == http.StatusBadRequest):
		return fault.Usagef("%s: the bucket is in the region %s; set AWS_REGION=%s", n, region, region)
	case resp.StatusCode == http.StatusForbidden:
		return fault.Usagef("%s: %s denies access (%s); correct %s and %s, or give their user the right to it", n, c.Endpoint(), codeOf(told.Code, resp), keyVariable, secretVariable)
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return &fault.UnreachableError{Err: fmt.Errorf("%s: %s answers %s; try again later", n, c.Endpoint(), codeOf(told.Code, resp))}
	}
	message := redact.New(c.keys.AccessKeyID, c.keys.SecretAccessKey, c.keys.SessionToken).Text(told.Message)
	return fault.Usagef("%s: %s refuses the request: %s %s", n, c.Endpoint(), codeOf(told.Code, resp), message)
}

// codeOf returns the code of an error, or the status of an answer without one.
func codeOf(code string, resp *http.Response) string {
	for _, r := range code {
		if (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			code = ""
			break
		}
	}
	if code == "" || len(code) > 60 {
		return resp.Status
	}
	return code
}
