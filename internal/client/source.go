package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/batchagent/batchagent/internal/server"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// maxLine is the limit of one result, in bytes.
const maxLine = 64 << 20

// Info returns the whole state of a batch. ErrNotFound.
func (c *Client) Info(ctx context.Context, id batch.ID) (batch.Info, error) {
	var v server.BatchView
	err := c.call(ctx, http.MethodGet, batchPath(id), nil, &v)
	v.Info.TTL = time.Duration(v.TTL)
	return v.Info, err
}

// Timeline returns the timeline of the Redis behind the server.
func (c *Client) Timeline(ctx context.Context, id batch.ID) (string, error) {
	var v server.BatchView
	err := c.call(ctx, http.MethodGet, batchPath(id), nil, &v)
	return v.Timeline, err
}

// Phase returns the batch's phase. ErrNotFound.
func (c *Client) Phase(ctx context.Context, id batch.ID) (batch.Phase, error) {
	info, err := c.Info(ctx, id)
	return info.Phase, err
}

// Results returns up to n results after the cursor.
func (c *Client) Results(ctx context.Context, id batch.ID, after int64, n int) ([]statestore.Entry, error) {
	return c.results(ctx, id, after, n, 0)
}

// AwaitResults is Results, but waits for the first result. It rounds wait down to whole seconds, at least one.
func (c *Client) AwaitResults(ctx context.Context, id batch.ID, after int64, n int, wait time.Duration) ([]statestore.Entry, error) {
	return c.results(ctx, id, after, n, max(1, int(wait.Seconds())))
}

// Result returns the result at a cursor, or nil if it was taken back.
func (c *Client) Result(ctx context.Context, id batch.ID, cursor int64) (*statestore.Entry, error) {
	entries, err := c.results(ctx, id, cursor-1, 1, 0)
	if err != nil || len(entries) == 0 || entries[0].Cursor != cursor {
		return nil, err
	}
	return &entries[0], nil
}

// TrimResults always fails: one reader over a server must not delete results that others may read.
func (c *Client) TrimResults(context.Context, batch.ID, int64, string) error {
	return errors.New("results cannot be removed from Redis through a server")
}

func (c *Client) results(ctx context.Context, id batch.ID, after int64, n, wait int) ([]statestore.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout+time.Duration(wait)*time.Second)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, batchPath(id, "results"), url.Values{
		"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(n)}, "wait": {strconv.Itoa(wait)}, "cursors": {"true"},
	}, nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var out []statestore.Entry
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		var line struct {
			Cursor int64           `json:"cursor"`
			Result json.RawMessage `json:"result"`
		}
		var r struct {
			Index  int64        `json:"index"`
			Status batch.Status `json:"status"`
		}
		err := json.Unmarshal(lines.Bytes(), &line)
		if err == nil {
			err = json.Unmarshal(line.Result, &r)
		}
		if err != nil {
			return nil, fmt.Errorf("decode a result of batch %s: %w", id, err)
		}
		out = append(out, statestore.Entry{Cursor: line.Cursor, Index: r.Index, Status: r.Status, Line: line.Result})
	}
	if err := lines.Err(); err != nil {
		return nil, lost{fmt.Errorf("read results from %s: %w", c.Address(), err)}
	}
	return out, nil
}
