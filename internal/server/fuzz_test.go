package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Every request gets a status below 500: IDs, cursors and filters are checked before the store is read.
func FuzzRequest(f *testing.F) {
	redis, _ := testredis.Mini(f)
	store, err := statestore.Open(f.Context(), redis, statestore.Options{})
	require.NoError(f, err)
	f.Cleanup(func() { _ = store.Close() })
	srv, err := New(Config{Store: store, Rate: 1e9, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(f, err)
	f.Cleanup(srv.Close)
	const id = "b_01k5x8zq3v6t9w2y4a7c1d0efg"
	for _, path := range []string{"/v1/batches", "/v1/batches/" + id, "/v1/batches/" + id + "/results", "/v1/batches/" + id + "/jobs/job-1", "/batches/" + id, "/", "/v1/openapi.json", "/v1/workers"} {
		for _, query := range []string{"", "after=-1", "after=9007199254740993&limit=1e9", "cursor=x", "status=%00", "wait=9999999h", "cursors=true&limit=0"} {
			f.Add("GET", path, query, "")
		}
		f.Add("POST", path, "", "{}")
		f.Add("DELETE", path, "", "\x00")
	}
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		if method == "POST" && len(body) > 2 {
			t.Skip("submissions have their own fuzz targets")
		}
		u := url.URL{Path: path, RawQuery: query}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1"+u.RequestURI(), http.NoBody)
		if err != nil {
			t.Skip("no request")
		}
		r.RequestURI, r.RemoteAddr = u.RequestURI(), "127.0.0.1:1"
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		if deadline, _ := ctx.Deadline(); time.Now().After(deadline) {
			return // the answer reports the end of the time, perhaps before ctx does
		}
		if w.Code >= http.StatusInternalServerError && w.Code != http.StatusNotImplemented {
			t.Fatalf("%s %s: %d %s", method, u.RequestURI(), w.Code, w.Body)
		}
	})
}
