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

// Server is what a calibration was found on. Two that are equal do the same work at the same speed, as far as can be told.
type Server struct {
	Endpoint string `json:"endpoint"` // without credentials
	Model    string `json:"model"`
	Version  string `json:"version,omitempty"`   // "" if the server does not tell
	Context  int    `json:"context,omitempty"`   // tokens; 0 if it does not tell
	KVTokens int    `json:"kv_tokens,omitempty"` // the same
}

// Calibration is what was found.
type Calibration struct {
	Server
	MaxInflight int       `json:"max_inflight"`
	Goodput     float64   `json:"goodput_tokens_per_second"`
	At          time.Time `json:"at"` // this machine's clock
}

// Best makes a calibration from what was measured.
func Best(s Server, levels []Level, now time.Time) Calibration {
	all := make([]scheduler.Level, len(levels))
	for i, l := range levels {
		all[i] = l.Level
	}
	best := scheduler.BestLevel(all)
	return Calibration{Server: s, MaxInflight: best.Inflight, Goodput: best.Goodput, At: now.UTC()}
}

// Identifier is what Identify asks of a server.
type Identifier interface {
	Models(ctx context.Context) ([]backend.Model, error)
	Endpoint() string
}

// Identify asks a server what it is.
func Identify(ctx context.Context, b Identifier) (Server, error) {
	models, err := b.Models(ctx)
	if err != nil {
		return Server{}, err
	}
	if len(models) == 0 {
		return Server{}, fmt.Errorf("%s serves no model", b.Endpoint())
	}
	s := Server{Endpoint: b.Endpoint(), Model: models[0].ID, Context: models[0].MaxModelLen}
	// What a server does not tell stays empty, in the file and when it is asked again.
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

// File keeps calibrations by endpoint. Several workers may use it at once: the last one to write an endpoint wins, and a reader sees
// a whole file.
type File string

// DefaultFile lies in the user's cache directory.
func DefaultFile() (File, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the place for calibrations: %w", err)
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

// Of returns the calibration of an endpoint; ok is false if there is none.
func (f File) Of(endpoint string) (c Calibration, ok bool, err error) {
	all, err := f.read()
	c, ok = all[endpoint]
	return c, ok && c.MaxInflight > 0, err
}

// Save adds a calibration, or replaces that of the same endpoint. A file that cannot be read is replaced, too: it is a cache.
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
