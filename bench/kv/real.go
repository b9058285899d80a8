package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/batchagent/batchagent/bench/internal/figures"
	"github.com/batchagent/batchagent/internal/coordinator"
	"github.com/batchagent/batchagent/internal/worker"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Workload d on a real server: texts as long as these, in words of about 1.3 tokens.
const (
	realTurns       = 8
	realPrefixWords = 250
	realTurnWords   = 115
	realOutput      = 8 // tokens
	realToolTime    = time.Second
	realSeparator   = "=" // keeps a tool's arguments apart
)

// realArm is one way to admit agents on a real server; a whole worker runs each.
type realArm struct {
	name   string
	agents int  // that may live; 0 lets the admission decide
	told   bool // the worker may read the size of the KV cache

	wall, hit, first, later figures.Series
}

// compareReal runs the arms on a server, round by round, the order turned by one each round.
func compareReal(ctx context.Context, w io.Writer, url string, agents, rounds int, fixed []int) error {
	arms := []*realArm{{name: "unlimited", agents: agents}}
	for _, n := range fixed {
		arms = append(arms, &realArm{name: fmt.Sprintf("fixed %d", n), agents: n})
	}
	arms = append(arms, &realArm{name: "ours", told: true})
	for round := range rounds {
		for i := range arms {
			a := arms[(i+round)%len(arms)]
			if err := a.run(ctx, url, agents, round); err != nil {
				return fmt.Errorf("%s, round %d: %w", a.name, round+1, err)
			}
			figures.Line(w, fmt.Sprintf("KV/workload=d/backend=real/arm=%s/round=%d", strings.ReplaceAll(a.name, " ", "_"), round+1), agents,
				figures.Value{Number: a.wall[round], Unit: "s"}, figures.Value{Number: a.hit[round], Unit: "hit-rate"})
		}
	}
	fmt.Fprintf(w, "\nd on a real server: %d agents of %d turns, medians of %d rounds\n", agents, realTurns, rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\twall s\thit rate\tTTFT first P50\tafter a tool P50\t\n")
	for _, a := range arms {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t%.2f\t\n", a.name, a.wall, a.hit, a.first.Median(), a.later.Median())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	ours := arms[len(arms)-1]
	best := slices.Clone(arms[1].wall)
	for _, a := range arms[1 : len(arms)-1] {
		for i, wall := range a.wall {
			best[i] = min(best[i], wall)
		}
	}
	fmt.Fprintf(w, "throughput of ours over unlimited: %s\n", arms[0].wall.Over(ours.wall))
	fmt.Fprintf(w, "throughput of ours over the best fixed number of that round: %s\n", best.Over(ours.wall))
	return nil
}

// run runs the workload once: a batch, an embedded Redis and one worker beside the server.
func (a *realArm) run(ctx context.Context, url string, agents, round int) error {
	server, err := dial.Open(ctx, url, dial.Options{})
	if err != nil {
		return err
	}
	defer server.Close()
	scripted := &scriptedTurns{Backend: server}
	var b backend.Backend = scripted
	if a.told {
		load, ok := server.(backend.LoadReporter)
		if !ok {
			return errors.New("this backend does not tell the size of its KV cache")
		}
		b = struct {
			*scriptedTurns
			backend.LoadReporter
		}{scripted, load}
	}
	redis := miniredis.NewMiniRedis()
	defer redis.Close()
	store, err := statestore.Open(ctx, "redis://127.0.0.1:6379", statestore.Options{
		Dialer: func(context.Context, string, string) (net.Conn, error) { return redis.Dial() },
	})
	if err != nil {
		return err
	}
	defer store.Close()
	pool, err := toolpool.New(toolpool.Config{})
	if err == nil {
		err = pool.Register(look())
	}
	if err != nil {
		return err
	}
	live := a.agents
	if live == 0 {
		live = agents
	}
	node, err := worker.New(worker.Config{ID: "node-1", Store: store, Backend: b, Tools: pool, Slots: live, MaxAgents: live})
	if err != nil {
		return err
	}
	life, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = node.Run(life) }) // a batch that does not end says more
	defer func() { end(); node.Abort(); running.Wait() }()

	dir, err := os.MkdirTemp("", "kv")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var out, said bytes.Buffer
	con := coordinator.NewConsole(&out, &said)
	spec, err := writeRealSpec(dir, agents, fmt.Sprintf("%s, round %d, %d", a.name, round, time.Now().UnixNano()))
	if err != nil {
		return err
	}
	sub, err := coordinator.Prepare(ctx, coordinator.SubmitOptions{Spec: spec, ToolsRoot: dir, Stdin: strings.NewReader("")}, con)
	if err != nil {
		return err
	}
	defer sub.Close()
	began := time.Now()
	if err := sub.Submit(ctx, store); err != nil {
		return err
	}
	if err := coordinator.Results(ctx, store, sub.ID, coordinator.ResultsOptions{Follow: true, Out: filepath.Join(dir, "results.jsonl")}, con); err != nil {
		return fmt.Errorf("%w\n%s", err, said.String())
	}
	a.wall = append(a.wall, time.Since(began).Seconds())
	info, err := store.Info(ctx, sub.ID)
	if err != nil {
		return err
	}
	if want := int64(agents * realTurns); info.Counts.Turns != want {
		return fmt.Errorf("there were %d turns and not %d", info.Counts.Turns, want)
	}
	u := info.Counts.Usage
	a.hit = append(a.hit, float64(u.CachedTokens)/float64(u.PromptTokens))
	first, later := scripted.waits()
	a.first = append(a.first, first.Median())
	a.later = append(a.later, later.Median())
	return nil
}

// scriptedTurns asks the real server, and decides itself what the answer is: a tool call in all turns but the last. A small
// model would not keep to any script.
type scriptedTurns struct {
	backend.Backend

	mu           sync.Mutex
	first, later figures.Series // guarded by mu; seconds
}

// Generate implements [backend.Backend].
func (s *scriptedTurns) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	turn := 0
	for _, m := range r.Messages {
		if m.Role == backend.RoleTool {
			turn++
		}
	}
	asked := *r
	asked.Tools, asked.Schema, asked.Sampling.MaxTokens = nil, nil, realOutput
	began := time.Now()
	resp, err := s.Backend.Generate(ctx, &asked, backend.Observer{FirstToken: o.FirstToken})
	if err != nil {
		return resp, err
	}
	s.mu.Lock()
	if wait := min(resp.TTFT, time.Since(began)).Seconds(); turn == 0 {
		s.first = append(s.first, wait)
	} else {
		s.later = append(s.later, wait)
	}
	s.mu.Unlock()
	resp.Finish = backend.FinishStop
	if turn < realTurns-1 {
		args, err := json.Marshal(map[string]string{"at": fmt.Sprint(r.Hints.Session, realSeparator, turn)})
		if err != nil {
			return nil, err
		}
		resp.Finish = backend.FinishToolCalls
		resp.Message.ToolCalls = []backend.ToolCall{{ID: fmt.Sprint("c", turn), Name: "look", Arguments: string(args)}}
	} else if strings.TrimSpace(resp.Message.Content) == "" {
		resp.Message.Content = "done"
	}
	return resp, nil
}

func (s *scriptedTurns) waits() (first, later figures.Series) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.first), slices.Clone(s.later)
}

// look is a tool of one second that returns a text of its own for each call.
func look() toolpool.Tool {
	return toolpool.Tool{
		Name: "look", Description: "Looks at something.", Parameters: []byte(`{"type":"object","properties":{"at":{"type":"string"}},"required":["at"]}`),
		Run: func(ctx context.Context, args json.RawMessage) (string, error) {
			timer := time.NewTimer(realToolTime)
			defer timer.Stop()
			select {
			case <-timer.C:
				return prose(string(args), realTurnWords), nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		},
	}
}

// writeRealSpec writes the batch. run makes its prefix unlike that of any other run, which the server may still hold.
func writeRealSpec(dir string, agents int, run string) (path string, err error) {
	var inputs bytes.Buffer
	for i := range agents {
		line, err := json.Marshal(map[string]string{"text": prose(fmt.Sprint(run, i), realTurnWords)})
		if err != nil {
			return "", err
		}
		inputs.Write(append(line, '\n'))
	}
	if err := os.WriteFile(filepath.Join(dir, "inputs.jsonl"), inputs.Bytes(), 0o600); err != nil {
		return "", err
	}
	spec := fmt.Sprintf("name: kv\nsystem_prompt: %q\ntask: %q\ninputs: inputs.jsonl\ntools: [look]\nmax_turns: %d\nsampling: {temperature: 0}\n",
		run+" "+prose(run, realPrefixWords), "{text}", realTurns+1)
	path = filepath.Join(dir, "batch.yaml")
	return path, os.WriteFile(path, []byte(spec), 0o600)
}

var words = strings.Fields(`the river runs under an old stone bridge and people walk along its banks every evening when light falls soft over
	roofs of houses while birds return to trees children play near water boats carry wood grain salt toward towns beyond hills where
	markets open before dawn with bread fish apples cloth tools lamps books maps clocks`)

// prose is text that the seed decides.
func prose(seed string, n int) string {
	var key [32]byte
	copy(key[:], seed[max(0, len(seed)-len(key)):])
	r := rand.New(rand.NewChaCha8(key))
	out := make([]string, n)
	for i := range out {
		out[i] = words[r.IntN(len(words))]
	}
	return strings.Join(out, " ")
}
