package client

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/server"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/statestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testredis.Dialling()) }

// lossy is a server that executes the first requests of a method and drops their responses.
type lossy struct {
	http.Handler
	method string
	lose   atomic.Int32
}

func (l *lossy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != l.method || l.lose.Add(-1) < 0 {
		l.Handler.ServeHTTP(w, r)
		return
	}
	l.Handler.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// A submission that got no response is sent again and makes one batch.
func TestSubmitAfterLostAnswerMakesOneBatch(t *testing.T) {
	url, _ := testredis.Mini(t)
	store, err := statestore.Open(t.Context(), url, statestore.Options{})
	require.NoError(t, err)
	s, err := server.New(server.Config{Store: store})
	require.NoError(t, err)
	l := &lossy{Handler: s, method: http.MethodPost}
	l.lose.Store(2)
	h := httptest.NewServer(l)
	defer func() {
		s.Close()
		h.Close()
		assert.NoError(t, store.Close())
	}()
	var told []notice.Notice
	c, err := New(h.URL, "", func(n notice.Notice) { told = append(told, n) })
	require.NoError(t, err)
	defer c.Close()

	spec := filepath.Join(t.TempDir(), "spec.yaml")
	require.NoError(t, os.WriteFile(spec, []byte("name: x\ntask: Say {a}\ninputs: [{a: 1}, {a: 2}]\n"), 0o600))
	sub, err := operation.Prepare(t.Context(), operation.SubmitOptions{Spec: spec, Stdin: strings.NewReader("")})
	require.NoError(t, err)
	defer sub.Close()
	id, err := c.Submit(t.Context(), sub)
	require.NoError(t, err)
	require.NotEmpty(t, told)
	assert.Equal(t, notice.Outage, told[0].Code)
	assert.Contains(t, told[0].Text, "trying again")
	infos, err := store.List(t.Context())
	require.NoError(t, err)
	require.Len(t, infos, 1)
	assert.Equal(t, id, infos[0].ID)
	assert.EqualValues(t, 2, infos[0].Counts.Total)
}

func TestURLs(t *testing.T) {
	for _, raw := range []string{"", "localhost:8080", "ftp://h", "http://", "http://u:p@h"} {
		_, err := New(raw, "", nil)
		assert.Error(t, err, raw)
	}
	c, err := New("https://h:1/", "", nil)
	require.NoError(t, err)
	assert.Equal(t, "https://h:1", c.Address())
}
