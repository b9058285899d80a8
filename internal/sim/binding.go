package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// boundModels are the models that plain workers ask to bind the batch to, if a run binds it.
var boundModels = []string{"a", "b"}

// binding holds the model fields of a batch's meta hash.
type binding struct {
	model  string   // that answered first
	models []string // that were used
}

func readBinding(m map[string]string) binding {
	b := binding{model: m["model"]}
	if m["models"] != "" {
		b.models = strings.Split(m["models"], "\n")
	}
	return b
}

// bind binds the batch to a model, as a worker does before it uses an answer.
func (p *plainWorker) bind(ctx context.Context, l batch.Lease) error {
	if !p.world.cfg.binds {
		return nil
	}
	r := p.world.chance.on("bind", strconv.FormatInt(l.Job.Index, 10), strconv.FormatInt(l.Token, 10))
	model := boundModels[r.IntN(len(boundModels))]
	err := p.store.UntilKnown(ctx, func() error {
		_, err := p.store.Bind(ctx, l.Job.Batch, model, false)
		return err
	})
	if errors.Is(err, statestore.ErrNotFound) {
		return nil // the write that follows reports it
	}
	return err
}

// bound checks what bind.lua did: the first model stays and is the answer, no other one is listed, and a batch that is gone stays so.
func (k *checker) bound(c call, was, is *state) {
	switch {
	case !was.exists && is.exists:
		k.fail("store", "bind made a batch that was gone")
	case was.binding.model != "" && is.binding.model != was.binding.model:
		k.fail("store", "the batch was bound to %s, and is bound to %s", was.binding.model, is.binding.model)
	case k.cfg.binds && slices.ContainsFunc(is.binding.models, func(m string) bool { return m != is.binding.model }):
		k.fail("store", "the batch is bound to %s and lists %v", is.binding.model, is.binding.models)
	case c.reply != nil && fmt.Sprint(c.reply) != is.binding.model:
		k.fail("store", "bind answered %v for a batch that is bound to %q", c.reply, is.binding.model)
	}
}
