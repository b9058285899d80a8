package localrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

// backendVariable names the model server for commands without --backend.
const BackendVariable = "BATCHAGENT_BACKEND"

// backendTimeout limits the wait for the model server's first answer.
const BackendTimeout = 10 * time.Second

// candidates are the places where a run looks for its model server. The first one that is set wins.
type candidates struct {
	given, by string // a URL, and the name of its source in messages
	spec, env string // URLs
	local     string // host:port to probe for a server; "" skips the probe
	simulate  bool   // start a simulated server if no other is found
	insecure  bool   // send keys without encryption to listed hosts, too
	tools     int    // number of tools in the spec; a simulated server calls each once

	wait   time.Duration // limits the retries while a named server does not answer or is overloaded
	notify notice.Func   // is called once when the wait begins
}

// named returns the configured URL and its source; both are "" if none is configured.
func (c candidates) named() (url, by string) {
	switch {
	case c.given != "":
		return c.given, c.by
	case c.spec != "":
		return c.spec, "the spec"
	case c.env != "":
		return c.env, BackendVariable
	}
	return "", ""
}

// modelServer is the model server of a run.
type modelServer struct {
	// backend is no embedded field. With one, a modelServer would be a backend, too, and would hide the optional abilities of this one.
	backend backend.Backend
	models  []backend.Model
	by      string // source of the URL, for messages
	stop    func() error
}

func (m *modelServer) stopAll() {
	_ = m.backend.Close()
	if m.stop != nil {
		_ = m.stop()
	}
}

// chooseBackend opens the configured server. Without one it opens the server on this machine, and then, if c.simulate
// is set, a simulated one.
func chooseBackend(ctx context.Context, c candidates, o dial.Options) (*modelServer, error) {
	if url, by := c.named(); url != "" {
		if o.Getenv == nil {
			o.Getenv = os.Getenv
		}
		var withheld string
		o.Getenv, withheld = newKeyPolicy(o.Getenv, c.insecure, c.given, c.env).environment(url)
		m, err := c.await(ctx, url, by, o)
		switch {
		case withheld == "":
		case backend.ClassOf(err) == backend.Auth:
			return nil, fmt.Errorf("%w\n%s", err, withheld)
		case err == nil && o.Logger != nil:
			o.Logger.Warn(withheld)
		}
		return m, err
	}
	if c.local != "" {
		if url, err := dial.Probe(ctx, c.local, o); err == nil {
			return openBackend(ctx, url, "found on this machine", o)
		}
	}
	if !c.simulate {
		return nil, &fault.UnreachableError{Err: fmt.Errorf("no model server is configured: give %s, or BATCHAGENT_BACKEND in the environment; none answers at %s",
			c.by, cmp.Or(c.local, "a default address"))}
	}
	sim, err := vllmsim.New(vllmsim.Config{ToolTurns: max(c.tools, 1)})
	if err != nil {
		return nil, fmt.Errorf("make the simulated server: %w", err)
	}
	url, stop, err := sim.Start(context.WithoutCancel(ctx), "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the simulated server: %w", err)
	}
	m, err := openBackend(ctx, "vllm://"+strings.TrimPrefix(url, "http://"), "simulated", o)
	if err != nil {
		_ = stop()
		return nil, err
	}
	m.stop = stop
	return m, nil
}

// firstLook is the interval between attempts to reach a server that does not answer yet.
const firstLook = 500 * time.Millisecond

// await calls openBackend and retries for up to c.wait.
func (c candidates) await(ctx context.Context, url, by string, o dial.Options) (*modelServer, error) {
	for began, told := time.Now(), false; ; told = true {
		m, err := openBackend(ctx, url, by, o)
		if err == nil || !away(err) || time.Since(began) >= c.wait {
			return m, err
		}
		if !told {
			c.notify.Send(notice.Outage, "%v; waiting up to %s", err, human.Span(c.wait))
		}
		if sleep.For(ctx, firstLook) != nil {
			return nil, err
		}
	}
}

// away reports whether a server that failed may recover by itself.
func away(err error) bool {
	if _, ok := errors.AsType[*fault.UnreachableError](err); !ok {
		return false
	}
	class := backend.ClassOf(err)
	return class == "" || class.Retryable()
}

// openBackend connects to a server. A server that is not ready is an error.
func openBackend(ctx context.Context, url, by string, o dial.Options) (*modelServer, error) {
	b, err := dial.Open(ctx, url, o)
	if err != nil {
		return nil, fault.Usagef("the backend of %s: %w", by, err)
	}
	ctx, cancel := context.WithTimeout(ctx, BackendTimeout)
	defer cancel()
	models, err := ReadyModels(ctx, b)
	if err != nil {
		_ = b.Close()
		return nil, &fault.UnreachableError{Err: unready(config.Redact(b.Endpoint()), by, err)}
	}
	return &modelServer{backend: b, models: models, by: by}, nil
}

// unready returns the error for a server that does not answer, or answers with an error.
func unready(endpoint, by string, err error) error {
	if e, ok := errors.AsType[*backend.Error](err); ok && e.Status != 0 {
		return fmt.Errorf("the model server %s (%s) answers with an error: %w", endpoint, by, err)
	}
	return fmt.Errorf("the model server %s (%s) does not answer: %w; is it running, and is the address right?", endpoint, by, err)
}

// ReadyModels returns the models of a ready server. The list may be empty.
func ReadyModels(ctx context.Context, b backend.Backend) ([]backend.Model, error) {
	if err := b.Ready(ctx); err != nil {
		return nil, err
	}
	return b.Models(ctx)
}

// model finds a model by name. "" selects the server's first model. If the server lists no models, any name is
// accepted.
func (m *modelServer) model(name string) (backend.Model, error) {
	switch {
	case len(m.models) == 0 && name == "":
		return backend.Model{}, fault.Usagef("the server %s lists no models (/models); name one in the spec: model: NAME", m.backend.Endpoint())
	case len(m.models) == 0:
		return backend.Model{ID: name}, nil
	case name == "":
		return m.models[0], nil
	}
	names := make([]string, len(m.models))
	for i, served := range m.models {
		if served.Is(name) {
			return served, nil
		}
		names[i] = served.ID
	}
	return backend.Model{}, fault.Usagef("the spec asks for the model %q; the server %s serves %s", name, m.backend.Endpoint(), strings.Join(names, ", "))
}

// modelFor returns the model for a batch's jobs. It returns an error if the server misses a model of the batch's
// stages.
func (m *modelServer) modelFor(p *spec.Prepared) (backend.Model, error) {
	for _, stage := range []*spec.Compiled{p.Planner, p.Reducer} {
		if stage == nil {
			continue
		}
		if _, err := m.model(stage.Model); err != nil {
			return backend.Model{}, err
		}
	}
	return m.model(p.Jobs.Model)
}
