package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/well":
		case "/moved":
			http.Redirect(w, r, "/well", http.StatusFound)
		default:
			http.Error(w, "not ready: the backend does not answer", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	require.NoError(t, probe(t.Context(), server.URL+"/well"))
	assert.ErrorContains(t, probe(t.Context(), server.URL+"/ill"), "503 Service Unavailable: not ready: the backend does not answer")
	assert.ErrorContains(t, probe(t.Context(), server.URL+"/moved"), "302 Found")
	server.Close()
	assert.ErrorContains(t, probe(t.Context(), server.URL+"/well"), "connection refused")
}
