package localrun

import (
	"context"
	"fmt"
	"sync"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

const (
	// maxCounted is how many prompts of an estimate the server counts. The rest is estimated by their lengths.
	maxCounted = 2_000
	// countAtOnce is how many of them it counts at a time.
	countAtOnce = 16
	// bytesPerToken estimates tokens without a server that counts them. Ordinary English text has about 4.
	bytesPerToken = 3
)

// Estimate is what the first turns of a batch's jobs take.
type Estimate struct {
	Jobs    int64  // with a usable input
	Bytes   int64  // of their prompts
	Counted int64  // prompts whose tokens the server counted
	Tokens  int64  // of all prompts
	Server  string // that counted; "" if none did
	Why     string // the reason why no server counted; "" if one did
	Prices  batch.Prices
}

// EstimateOptions name the model server that counts.
type EstimateOptions struct {
	Backend string // URL; "" uses the spec's, then BATCHAGENT_BACKEND, then a server on this machine
	Local   string // host:port to probe for a server; "" skips the probe
	Getenv  func(string) string
}

// EstimatePrompts counts the tokens of the first prompt of each job with the model server. It reads the inputs once more. Tool
// definitions and the results of preloaded calls are not part of these prompts.
func EstimatePrompts(ctx context.Context, o EstimateOptions, s *spec.Spec, p *spec.Prepared) (Estimate, error) {
	out := Estimate{Prices: p.Jobs.Prices}
	if p.Planner != nil {
		return out, fault.Usagef("a plan makes the inputs of this batch, so that its prompts are not known before it runs; max_items limits them")
	}
	if p.Jobs.Agent != nil {
		return out, fault.Usagef("the program of agent writes the prompts, so that they are not known before it runs; a run of a few rows shows what they cost")
	}
	server, err := chooseBackend(ctx, candidates{given: o.Backend, by: "--backend", spec: s.Backend, env: o.Getenv(BackendVariable), local: o.Local}, dial.Options{Getenv: o.Getenv})
	if err != nil {
		named := o.Backend != "" || s.Backend != "" || o.Getenv(BackendVariable) != ""
		if named || !fault.IsUnreachable(err) {
			return out, err
		}
		out.Why = "no model server is known"
		return out, out.measure(ctx, p, nil)
	}
	defer server.stopAll()
	model, err := server.modelFor(p)
	if err != nil {
		return out, err
	}
	counter, ok := server.backend.(backend.TokenCounter)
	if !ok {
		out.Why = fmt.Sprintf("%s has no tokenizer", server.backend.Endpoint())
		return out, out.measure(ctx, p, nil)
	}
	out.Server = server.backend.Endpoint()
	return out, out.measure(ctx, p, func(ctx context.Context, messages []backend.Message) (int, error) {
		n, err := counter.CountTokens(ctx, &backend.Request{ID: "estimate", Model: model.ID, Messages: messages})
		if err != nil {
			return 0, &fault.UnreachableError{Err: fmt.Errorf("count the tokens of a prompt at %s: %w", server.backend.Endpoint(), err)}
		}
		return n, nil
	})
}

// measure reads all prompts, and lets count count some of them, evenly spread. A nil count counts none.
func (e *Estimate) measure(ctx context.Context, p *spec.Prepared, count func(context.Context, []backend.Message) (int, error)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	prompts := make(chan []backend.Message)
	var mu sync.Mutex
	var countedBytes, countedTokens int64
	var counting sync.WaitGroup
	for range countAtOnce {
		counting.Go(func() {
			for messages := range prompts {
				n, err := count(ctx, messages)
				if err != nil {
					stop(err)
					continue
				}
				mu.Lock()
				e.Counted++
				countedBytes += bytesOf(messages)
				countedTokens += int64(n)
				mu.Unlock()
			}
		})
	}
	err := e.read(ctx, p, func(messages []backend.Message) {
		if count == nil || !spread(e.Jobs-1, p.Total) {
			return
		}
		select {
		case prompts <- messages:
		case <-ctx.Done():
		}
	})
	close(prompts)
	counting.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return err
	}
	switch {
	case e.Counted == 0:
		e.Tokens = e.Bytes / bytesPerToken
	case e.Counted == e.Jobs:
		e.Tokens = countedTokens
	default:
		e.Tokens = int64(float64(e.Bytes) * float64(countedTokens) / float64(countedBytes))
	}
	return nil
}

// spread reports whether the job at a position is one of at most maxCounted of total jobs. The first one always is.
func spread(index, total int64) bool {
	return total <= maxCounted || index*maxCounted/total != (index-1)*maxCounted/total || index == 0
}

// read calls each with the first messages of every job with a usable input.
func (e *Estimate) read(ctx context.Context, p *spec.Prepared, each func(messages []backend.Message)) error {
	index := int64(-1)
	for line, err := range p.Payloads(ctx) {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		index++
		payload, err := spec.DecodePayload(line)
		if err != nil {
			return fmt.Errorf("read %s: %w", batch.JobID(index), err)
		}
		asked, bad := p.Jobs.Asked(&payload)
		if bad != "" {
			continue
		}
		var messages []backend.Message
		if p.Jobs.System != "" {
			messages = append(messages, backend.Message{Role: backend.RoleSystem, Content: p.Jobs.System})
		}
		messages = append(messages, backend.Message{Role: backend.RoleUser, Content: asked.Prompt})
		e.Jobs++
		e.Bytes += bytesOf(messages)
		each(messages)
	}
	return nil
}

func bytesOf(messages []backend.Message) (n int64) {
	for _, m := range messages {
		n += int64(len(m.Content))
	}
	return n
}
