package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/sleep"
)

const (
	// wholeUpload is the largest object that one request writes. A larger one has parts of this size.
	wholeUpload = 64 << 20
	// maxParts limits the parts of an object.
	maxParts = 10_000
)

// Version returns the version of an object: its ETag. ErrNotExist.
func (c *Client) Version(ctx context.Context, n Name) (string, error) {
	version, _, err := c.head(ctx, n)
	return version, err
}

// head returns the version of an object and its size, -1 if the store does not name it. ErrNotExist.
func (c *Client) head(ctx context.Context, n Name) (version string, size int64, err error) {
	resp, err := c.do(ctx, request{method: http.MethodHead, name: n})
	if err == nil {
		return resp.Header.Get("ETag"), resp.ContentLength, resp.Body.Close()
	}
	if !fault.IsUsage(err) {
		return "", 0, err
	}
	// An answer to HEAD has no reason, such as a missing bucket.
	resp, reason := c.do(ctx, request{method: http.MethodGet, name: n, header: map[string]string{"Range": "bytes=0-0"}})
	if reason != nil {
		return "", 0, reason
	}
	return "", 0, errors.Join(err, resp.Body.Close())
}

// Fetch copies an object to w and returns its version. If the connection breaks, it continues with the next byte of the same version.
func (c *Client) Fetch(ctx context.Context, n Name, w io.Writer) (version string, err error) {
	var done int64
	var stuck int
	for {
		header := map[string]string{}
		if done > 0 {
			header["Range"], header["If-Match"] = fmt.Sprintf("bytes=%d-", done), version
		}
		resp, err := c.do(ctx, request{method: http.MethodGet, name: n, header: header})
		if err != nil {
			return "", err
		}
		if done > 0 && (resp.StatusCode != http.StatusPartialContent || resp.Header.Get("ETag") != version) {
			_ = resp.Body.Close()
			return "", fmt.Errorf("%s: %w while it was read; start again", n, ErrChanged)
		}
		version = resp.Header.Get("ETag")
		written := &counted{w: w}
		copied, broke := io.Copy(written, resp.Body)
		_ = resp.Body.Close()
		done += copied
		switch {
		case broke == nil:
			return version, nil
		case written.err != nil:
			return "", fmt.Errorf("copy %s: %w", n, written.err)
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		}
		if stuck++; copied >= leastProgress {
			stuck = 0
		}
		if stuck == tries {
			return "", &fault.UnreachableError{Err: fmt.Errorf("read %s from %s: %w", n, c.Endpoint(), broke)}
		}
		if err := sleep.For(ctx, c.firstWait<<stuck); err != nil {
			return "", err
		}
	}
}

// counted remembers the error of a writer, to tell it from that of a reader.
type counted struct {
	w   io.Writer
	err error
}

func (c *counted) Write(p []byte) (n int, err error) {
	n, c.err = c.w.Write(p)
	return n, c.err
}

// Condition is what must hold before an object is replaced.
type Condition struct {
	Version string // the object has this version
	Absent  bool   // the object does not exist
}

func (c Condition) header() map[string]string {
	switch {
	case c.Absent:
		return map[string]string{"If-None-Match": "*"}
	case c.Version != "":
		return map[string]string{"If-Match": c.Version}
	}
	return nil
}

// Store writes an object in one step: readers see the old one or all of the new one. It returns the new version. ErrChanged: the
// condition does not hold. The store checks the condition with the write. Store checks it before, too: some stores ignore it.
func (c *Client) Store(ctx context.Context, n Name, content io.ReaderAt, size int64, only Condition) (version string, err error) {
	if err = c.check(ctx, n, only); err == nil {
		version, err = c.store(ctx, n, content, size, only)
	}
	if errors.Is(err, errNoConditions) && only != (Condition{}) {
		version, err = c.store(ctx, n, content, size, Condition{})
	}
	if errors.Is(err, ErrChanged) || errors.Is(err, errNoUpload) { // maybe by an earlier try, whose answer was lost
		if now, same := c.Holds(ctx, n, content, size); same == nil && now != "" {
			return now, nil
		}
	}
	return version, err
}

// check returns ErrChanged if a condition does not hold.
func (c *Client) check(ctx context.Context, n Name, only Condition) error {
	if only == (Condition{}) {
		return nil
	}
	now, err := c.Version(ctx, n)
	if err != nil && !errors.Is(err, ErrNotExist) {
		return err
	}
	if only.Absent && err == nil || only.Version != "" && now != only.Version {
		return fmt.Errorf("%s: %w", n, ErrChanged)
	}
	return nil
}

// Holds returns the version of an object if it has this content, and otherwise "".
func (c *Client) Holds(ctx context.Context, n Name, content io.ReaderAt, size int64) (version string, err error) {
	switch _, now, err := c.head(ctx, n); {
	case err != nil:
		return "", err
	case now >= 0 && now != size:
		return "", nil
	}
	ours, theirs := sha256.New(), sha256.New()
	if _, err := io.Copy(ours, io.NewSectionReader(content, 0, size)); err != nil {
		return "", fmt.Errorf("read the content for %s: %w", n, err)
	}
	version, err = c.Fetch(ctx, n, theirs)
	if err != nil || !bytes.Equal(ours.Sum(nil), theirs.Sum(nil)) {
		return "", err
	}
	return version, nil
}

func (c *Client) store(ctx context.Context, n Name, content io.ReaderAt, size int64, only Condition) (version string, err error) {
	if size <= wholeUpload {
		return c.storeWhole(ctx, n, content, size, only)
	}
	var began struct {
		UploadID string `xml:"UploadId"`
	}
	if err := c.xml(ctx, request{method: http.MethodPost, name: n, query: url.Values{"uploads": {""}}}, &began); err != nil {
		return "", err
	}
	upload := url.Values{"uploadId": {began.UploadID}}
	version, err = c.storeParts(ctx, n, content, size, upload, only)
	if err != nil {
		// The parts cost money until the upload is aborted, also if ctx has ended.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if resp, _, gone := c.once(ctx, request{method: http.MethodDelete, name: n, query: upload}); gone == nil {
			_ = resp.Body.Close()
		}
	}
	return version, err
}

func (c *Client) storeWhole(ctx context.Context, n Name, content io.ReaderAt, size int64, only Condition) (string, error) {
	r, err := withBody(request{method: http.MethodPut, name: n, header: only.header()}, content, 0, size)
	if err != nil {
		return "", err
	}
	resp, err := c.do(ctx, r)
	if err != nil {
		return "", err
	}
	return resp.Header.Get("ETag"), resp.Body.Close()
}

// part is a part of an upload.
type part struct {
	XMLName xml.Name `xml:"Part"`
	Number  int      `xml:"PartNumber"`
	ETag    string
}

func (c *Client) storeParts(ctx context.Context, n Name, content io.ReaderAt, size int64, upload url.Values, only Condition) (string, error) {
	var list struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Parts   []part
	}
	length := max(wholeUpload, (size+maxParts-1)/maxParts)
	for from := int64(0); from < size; from += length {
		number := len(list.Parts) + 1
		query := url.Values{"uploadId": upload["uploadId"], "partNumber": {strconv.Itoa(number)}}
		r, err := withBody(request{method: http.MethodPut, name: n, query: query}, content, from, min(length, size-from))
		if err != nil {
			return "", err
		}
		resp, err := c.do(ctx, r)
		if err != nil {
			return "", err
		}
		list.Parts = append(list.Parts, part{Number: number, ETag: resp.Header.Get("ETag")})
		_ = resp.Body.Close()
	}
	if err := c.check(ctx, n, only); err != nil {
		return "", err
	}
	text, err := xml.Marshal(list)
	if err != nil {
		return "", fmt.Errorf("list the parts of %s: %w", n, err)
	}
	r := request{method: http.MethodPost, name: n, query: upload, header: only.header(), body: readerAt(text), size: int64(len(text)), sum: sumOf(text)}
	var done struct {
		XMLName       xml.Name
		ETag          string
		Code, Message string
	}
	if err := c.xml(ctx, r, &done); err != nil {
		return "", err
	}
	if done.XMLName.Local == "Error" { // with the status of a success, because it came late
		return "", &fault.UnreachableError{Err: fmt.Errorf("%s: %s could not put the parts together (%s); try again later", n, c.Endpoint(), done.Code)}
	}
	return done.ETag, nil
}

// Remove removes an object that has this version. It is no error if the object does not exist. ErrChanged: it has another version.
func (c *Client) Remove(ctx context.Context, n Name, version string) error {
	now, err := c.Version(ctx, n)
	if err == nil && now != version {
		err = fmt.Errorf("%s: %w", n, ErrChanged)
	}
	if err == nil {
		err = c.remove(ctx, n, Condition{Version: version})
	}
	if errors.Is(err, errNoConditions) {
		err = c.remove(ctx, n, Condition{})
	}
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	return err
}

func (c *Client) remove(ctx context.Context, n Name, only Condition) error {
	resp, err := c.do(ctx, request{method: http.MethodDelete, name: n, header: only.header()})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// xml sends a request and decodes the answer.
func (c *Client) xml(ctx context.Context, r request, to any) error {
	resp, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	if err := xml.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(to); err != nil {
		return &fault.UnreachableError{Err: fmt.Errorf("%s: read the answer of %s: %w", r.name, c.Endpoint(), err)}
	}
	return nil
}
