package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/server"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	cancelPoll = 500 * time.Millisecond
	// callTimeout is the limit of a call that returns at once.
	callTimeout = 30 * time.Second
	// maxAnswer is the limit of a response other than results, in bytes.
	maxAnswer = 64 << 20
	// maxListed is the limit of a list of batches.
	maxListed = 1000
)

// Client is a client of one server.
type Client struct {
	base   *url.URL
	token  string
	http   *http.Client
	notify notice.Func
}

var _ operation.Batches = (*Client)(nil)

// New returns a client for a server's URL, such as http://host:8080. It does not connect. notify receives the notices of the
// server, and outages of a submission.
func New(raw, token string, notify notice.Func) (*Client, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &fault.UsageError{Err: errors.New("the URL of a server is such as http://127.0.0.1:8080")}
	}
	if u.User != nil {
		return nil, &fault.UsageError{Err: errors.New("the URL of a server takes no user and password; the token is in BATCHAGENT_API_TOKEN or in --token-file")}
	}
	return &Client{base: u, token: token, notify: notify, http: &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}}, nil
}

// Close closes the idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Address returns the server's URL without a path.
func (c *Client) Address() string { return c.base.Scheme + "://" + c.base.Host }

// UntilKnown repeats op while the server does not answer, until ctx ends.
func (c *Client) UntilKnown(ctx context.Context, op func() error) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, 5*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := op()
		if err != nil && !statestore.Unreachable(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(0))
	return err
}

// once converts the outage of a call that is not retried into the error of the command.
func once(err error) error {
	if statestore.Unreachable(err) {
		return &fault.UnreachableError{Err: err}
	}
	return err
}

// do makes a request. The caller closes the body of the response. A response with a problem is an error.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body io.Reader, headers map[string]string) (*http.Response, error) {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make a request to %s: %w", c.Address(), err)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
			return nil, context.Cause(ctx)
		}
		return nil, lost{fmt.Errorf("no answer from %s: %w; is `coordinator serve` running there?", c.Address(), err)}
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.problem(resp)
}

// lost is an error of unknown outcome: it is [statestore.ErrUnknownOutcome] with a text of its own.
type lost struct{ error }

func (l lost) Unwrap() error      { return l.error }
func (lost) Is(target error) bool { return target == statestore.ErrUnknownOutcome }

// problem returns the error for a response with a problem.
func (c *Client) problem(resp *http.Response) error {
	var p server.Problem
	data, _ := io.ReadAll(io.LimitReader(redact.New(c.token).Reader(resp.Body), 1<<20))
	if json.Unmarshal(data, &p) != nil || p.Detail == "" {
		p.Detail = fmt.Sprintf("%s answered %s", c.Address(), redact.New(c.token).Text(resp.Status))
	}
	err := errors.New(p.Detail)
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return &fault.UsageError{Err: fmt.Errorf("%s requires a token: set BATCHAGENT_API_TOKEN or --token-file to the token of the server", c.Address())}
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 500 && resp.StatusCode != http.StatusInternalServerError:
		return lost{fmt.Errorf("%s: %w", c.Address(), err)}
	case resp.StatusCode == http.StatusNotFound:
		return &fault.UsageError{Err: known{err, statestore.ErrNotFound}}
	case strings.HasSuffix(p.Type, ":key-used"):
		return &fault.UsageError{Err: known{err, statestore.ErrKeyUsed}}
	case resp.StatusCode < 500:
		return &fault.UsageError{Err: err}
	}
	return err
}

// known is an error of package statestore with a text of its own.
type known struct {
	error
	is error
}

func (k known) Unwrap() error { return k.is }

// call makes a request and decodes the JSON response.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.exchange(ctx, method, path, query, nil, out)
}

// exchange makes a request with a JSON body, or none if in is nil, and decodes the JSON response.
func (c *Client) exchange(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body io.Reader
	var headers map[string]string
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode a request to %s: %w", c.Address(), err)
		}
		body, headers = bytes.NewReader(data), map[string]string{"Content-Type": "application/json"}
	}
	resp, err := c.do(ctx, method, path, query, body, headers)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return lost{fmt.Errorf("read the answer of %s: %w", c.Address(), err)}
	}
	return nil
}

func batchPath(id batch.ID, more ...string) string {
	return strings.Join(append([]string{"/api/v1/batches", string(id)}, more...), "/")
}

// Status returns a batch and the workers that run it.
func (c *Client) Status(ctx context.Context, id batch.ID) (operation.StatusReport, error) {
	var v server.BatchView
	err := c.call(ctx, http.MethodGet, batchPath(id), nil, &v)
	v.Info.TTL = time.Duration(v.TTL)
	return v.StatusReport, once(err)
}

// Find always succeeds: the server names the nearest known batch in its answer to the request that follows.
func (c *Client) Find(context.Context, batch.ID) error { return nil }

// List returns the n newest batches with their states; 0 means as many as the server returns.
func (c *Client) List(ctx context.Context, n int) ([]operation.Listed, error) {
	if n == 0 {
		n = maxListed
	}
	var list server.Batches
	err := c.call(ctx, http.MethodGet, "/api/v1/batches", url.Values{"limit": {strconv.Itoa(n)}}, &list)
	infos := make([]operation.Listed, len(list.Batches))
	for i, b := range list.Batches {
		infos[i] = b.Listed
		infos[i].Info.TTL = time.Duration(b.TTL)
	}
	return infos, once(err)
}

// Workers lists the workers that are alive.
func (c *Client) Workers(ctx context.Context) ([]batch.WorkerRecord, error) {
	var list server.Workers
	err := c.call(ctx, http.MethodGet, "/api/v1/workers", nil, &list)
	records := make([]batch.WorkerRecord, len(list.Workers))
	for i, w := range list.Workers {
		records[i] = w.Record()
	}
	return records, once(err)
}

// Cancel cancels a batch, and returns when every job has a result.
func (c *Client) Cancel(ctx context.Context, id batch.ID) (operation.Cancelled, error) {
	var a server.CancelAnswer
	if err := c.change(ctx, http.MethodPost, batchPath(id, "cancel"), nil, &a); err != nil {
		return operation.Cancelled{}, err
	}
	c.pass(a.Notices)
	if a.Outcome != nil {
		return *a.Outcome, nil
	}
	out := operation.Cancelled{CancelledJobs: operation.CancelledJobs{Batch: id}, Recorded: true}
	for phase := batch.Cancelling; phase != batch.Done; {
		if err := sleep.For(ctx, cancelPoll); err != nil {
			return out, err
		}
		err := c.UntilKnown(ctx, func() error {
			info, err := c.Info(ctx, id)
			phase, out.Jobs, out.Ended = info.Phase, info.Counts.Cancelled, info.Counts.OK+info.Counts.Failed
			return err
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// Retry runs the failed jobs of a batch again.
func (c *Client) Retry(ctx context.Context, id batch.ID) (operation.Retried, error) {
	var a server.RetryAnswer
	err := c.change(ctx, http.MethodPost, batchPath(id, "retry"), nil, &a)
	c.pass(a.Notices)
	return a.Outcome, err
}

// Remove deletes a batch that is done.
func (c *Client) Remove(ctx context.Context, id batch.ID) ([]batch.ID, error) {
	var a server.RemoveAnswer
	err := c.change(ctx, http.MethodDelete, batchPath(id), nil, &a)
	c.pass(a.Notices)
	return a.Removed, err
}

// Explain returns how a batch's time was spent.
func (c *Client) Explain(ctx context.Context, id batch.ID) (e diagnose.Explanation, err error) {
	ctx, cancel := context.WithTimeout(ctx, server.ExplainTimeout+callTimeout)
	defer cancel()
	err = c.exchange(ctx, http.MethodGet, batchPath(id, "explanation"), nil, nil, &e)
	return e, once(err)
}

// SetBudget replaces the budget of a batch and returns its new state.
func (c *Client) SetBudget(ctx context.Context, id batch.ID, b batch.Budget) (info batch.Info, err error) {
	var a server.BudgetAnswer
	if err := c.change(ctx, http.MethodPut, batchPath(id, "budget"), server.Budget{Tokens: b.Tokens, USD: b.USD}, &a); err != nil {
		return info, err
	}
	c.pass(a.Notices)
	err = c.UntilKnown(ctx, func() error {
		info, err = c.Info(ctx, id.Whole())
		return err
	})
	return info, err
}

// Resolve sets the outcome of a parked call. job is job-<index>, or the index.
func (c *Client) Resolve(ctx context.Context, id batch.ID, job string, r operation.Resolution) (operation.Resolved, error) {
	var a server.ResolveAnswer
	err := c.change(ctx, http.MethodPost, batchPath(id, "jobs", url.PathEscape(strings.TrimPrefix(job, "job-")), "resolve"),
		server.Resolution{Outcome: r.Outcome, Result: r.Text, Call: r.Call}, &a)
	c.pass(a.Notices)
	return a.Outcome, err
}

// change makes a request that changes a batch, with in as its body unless in is nil. It does not wait for the server.
func (c *Client) change(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return once(c.exchange(ctx, method, path, nil, in, out))
}

// pass passes on the notices of the server.
func (c *Client) pass(list []notice.Notice) {
	for _, n := range list {
		if c.notify != nil {
			c.notify(n)
		}
	}
}

// Submit submits a batch. It sends the submission again while the server does not answer; an idempotency key keeps that from
// making a second batch.
func (c *Client) Submit(ctx context.Context, s *operation.Submission) (batch.ID, error) {
	var done server.Submitted
	key := cmp.Or(s.Key, rand.Text())
	err := c.UntilKnown(ctx, func() error {
		err := c.send(ctx, s, key, &done)
		if statestore.Unreachable(err) {
			c.notify.Send(notice.Outage, "%v; trying again", err)
		}
		return err
	})
	c.pass(done.Notices)
	return done.ID, err
}

// Announced does nothing: each Submit has a key of its own.
func (c *Client) Announced(context.Context, *operation.Submission) error { return nil }

func (c *Client) send(ctx context.Context, s *operation.Submission, key string, done *server.Submitted) error {
	body, to := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := s.Send(ctx, to)
		to.CloseWithError(err)
		sent <- err
	}()
	resp, err := c.do(ctx, http.MethodPost, "/api/v1/batches", nil, body, map[string]string{
		"Content-Type": "application/x-ndjson", "Idempotency-Key": key,
	})
	_ = body.Close() // a server that refuses reads no further
	if local := <-sent; local != nil && !errors.Is(local, io.ErrClosedPipe) && ctx.Err() == nil {
		err = local // reading the inputs failed
	}
	if err != nil {
		if resp != nil {
			_ = resp.Body.Close()
		}
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(done); err != nil {
		return lost{fmt.Errorf("read the answer of %s: %w", c.Address(), err)}
	}
	return nil
}
