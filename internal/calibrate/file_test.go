package calibrate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

func TestFileKeepsOneCalibrationPerEndpoint(t *testing.T) {
	t.Parallel()
	f := File(filepath.Join(t.TempDir(), "new", "calibration.json"))
	_, ok, err := f.Of("vllm://a")
	require.NoError(t, err)
	require.False(t, ok)
	levels := []Level{{Level: scheduler.Level{Inflight: 1, Goodput: 10}}, {Level: scheduler.Level{Inflight: 2, Goodput: 19}}}
	a := Best(Server{Endpoint: "vllm://a", Model: "m", KVTokens: 4096}, levels, time.Unix(5, 0))
	b := Best(Server{Endpoint: "vllm://b", Model: "m"}, levels[:1], time.Unix(6, 0))
	for _, c := range []Calibration{b, {Server: a.Server, MaxInflight: 9}, a} {
		require.NoError(t, f.Save(c))
	}
	for _, want := range []Calibration{a, b} {
		got, ok, err := f.Of(want.Endpoint)
		require.NoError(t, err)
		require.True(t, ok)
		assert.Equal(t, want, got)
	}
	assert.Equal(t, 2, a.MaxInflight)
	left, err := os.ReadDir(filepath.Dir(string(f)))
	require.NoError(t, err)
	assert.Len(t, left, 1, "only the file is left")

	require.NoError(t, os.WriteFile(string(f), []byte("{"), 0o600))
	_, _, err = f.Of("vllm://a")
	require.ErrorContains(t, err, string(f))
	require.NoError(t, f.Save(a), "an unreadable cache is replaced")
	_, ok, _ = f.Of("vllm://a")
	assert.True(t, ok)
}

// described is a server that reports the given identity.
type described struct {
	models  []backend.Model
	err     error
	version string
	load    backend.Load
}

func (d described) Models(context.Context) ([]backend.Model, error) { return d.models, d.err }
func (described) Endpoint() string                                  { return "vllm://a" }
func (d described) Version(context.Context) (string, error)         { return d.version, nil }
func (d described) Load(context.Context) (backend.Load, error)      { return d.load, nil }

func TestIdentify(t *testing.T) {
	t.Parallel()
	got, err := Identify(t.Context(), described{
		models: []backend.Model{{ID: "m", MaxModelLen: 8192}, {ID: "lora"}}, version: "0.32.0", load: backend.Load{KVCapacityTokens: 4096},
	})
	require.NoError(t, err)
	assert.Equal(t, Server{Endpoint: "vllm://a", Model: "m", Version: "0.32.0", Context: 8192, KVTokens: 4096}, got)

	got, err = Identify(t.Context(), described{models: []backend.Model{{ID: "m"}}, load: backend.Load{KVCapacityTokens: -1}})
	require.NoError(t, err)
	assert.Equal(t, Server{Endpoint: "vllm://a", Model: "m"}, got)

	_, err = Identify(t.Context(), described{})
	require.ErrorContains(t, err, "serves no model")
	away := errors.New("away")
	_, err = Identify(t.Context(), described{err: away})
	require.ErrorIs(t, err, away)
}
