package calibrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

// Server identifies the server of a calibration. Two equal ones are assumed to do the same work at the same speed.
type Server struct {
	Endpoint string `json:"endpoint"` // without credentials
	Model    string `json:"model"`
	Version  string `json:"version,omitempty"`   // "" if the server does not report it
	Context  int    `json:"context,omitempty"`   // tokens; 0 if the server does not report it
	KVTokens int    `json:"kv_tokens,omitempty"` // tokens; 0 if the server does not report it
}

// Calibration is the result of measuring one server.
type Calibration struct {
	Server
	MaxInflight int       `json:"max_inflight"`              // best number of calls in flight
	Goodput     float64   `json:"goodput_tokens_per_second"` // at MaxInflight
	At          time.Time `json:"at"`                        // this machine's clock
}

// Best returns the calibration with the best of the measured levels.
func Best(s Server, levels []Level, now time.Time) Calibration {
	all := make([]scheduler.Level, len(levels))
	for i, l := range levels {
		all[i] = l.Level
	}
	best := scheduler.BestLevel(all)
	return Calibration{Server: s, MaxInflight: best.Inflight, Goodput: best.Goodput, At: now.UTC()}
}

// Identifier is the part of a backend that Identify uses.
type Identifier interface {
	Models(ctx context.Context) ([]backend.Model, error)
	Endpoint() string
}

// Identify returns the identity of a server.
func Identify(ctx context.Context, b Identifier) (Server, error) {
	models, err := b.Models(ctx)
	if err != nil {
		return Server{}, err
	}
	if len(models) == 0 {
		return Server{}, fmt.Errorf("%s serves no model", b.Endpoint())
	}
	s := Server{Endpoint: b.Endpoint(), Model: models[0].ID, Context: models[0].MaxModelLen}
	// A value that the server does not report stays empty, both in the file and in a later comparison.
	if v, ok := b.(interface {
		Version(ctx context.Context) (string, error)
	}); ok {
		s.Version, _ = v.Version(ctx)
	}
	if r, ok := b.(backend.LoadReporter); ok {
		if load, err := r.Load(ctx); err == nil {
			s.KVTokens = max(load.KVCapacityTokens, 0)
		}
	}
	return s, nil
}

// File is the path of a file with calibrations by endpoint. Several workers may use it at once: the last one to write an
// endpoint wins, and readers always see a complete file.
type File string

// DefaultFile returns the file in the user's cache directory.
func DefaultFile() (File, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the directory for calibrations: %w", err)
	}
	return File(filepath.Join(dir, "batchagent", "calibration.json")), nil
}

func (f File) read() (map[string]Calibration, error) {
	all := map[string]Calibration{}
	data, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read calibrations in %s: %w", f, err)
	}
	return all, nil
}

// Of returns the calibration of an endpoint. ok is false if the file has none.
func (f File) Of(endpoint string) (c Calibration, ok bool, err error) {
	all, err := f.read()
	c, ok = all[endpoint]
	return c, ok && c.MaxInflight > 0, err
}

// Save adds a calibration, or replaces the one of the same endpoint. It also replaces an unreadable file, because the file is
// only a cache.
func (f File) Save(c Calibration) error {
	all, err := f.read()
	if err != nil {
		all = map[string]Calibration{}
	}
	all[c.Endpoint] = c
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(string(f))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save a calibration: %w", err)
	}
	if err := renameio.WriteFile(string(f), append(data, '\n'), 0o600, renameio.WithTempDir(dir)); err != nil {
		return fmt.Errorf("save a calibration: %w", err)
	}
	return nil
}
