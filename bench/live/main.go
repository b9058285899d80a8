package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/batchagent/batchagent/bench/internal/figures"
	"github.com/batchagent/batchagent/bench/internal/prose"
	"github.com/batchagent/batchagent/bench/internal/realrun"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

// settings are the values of the flags.
type settings struct {
	url, profile               string
	numbers                    []int
	rounds, documents          int
	prefix, question, document int // words
	output                     int // tokens
	gpuHour                    float64
	scale                      float64
}

func main() {
	var s settings
	flag.StringVar(&s.url, "backend", "", "server `URL`, such as vllm://127.0.0.1:8000; empty starts a simulated one")
	flag.StringVar(&s.profile, "profile", "a10g-7b", "profile of the simulated server")
	numbers := flag.String("n", "10,20,50,100,200", "numbers of agents")
	flag.IntVar(&s.rounds, "rounds", 3, "rounds; the arms take turns in each")
	flag.IntVar(&s.documents, "documents", 10, "documents that the agents share")
	flag.IntVar(&s.prefix, "prefix", 750, "words of the shared system prompt, of about 1.3 tokens")
	flag.IntVar(&s.question, "question", 30, "words of an agent's own question")
	flag.IntVar(&s.document, "document", 400, "words of a document")
	flag.IntVar(&s.output, "output", 100, "limit of output tokens per model call")
	flag.Float64Var(&s.gpuHour, "gpu-hour", 0, "price of the server's hour; 0 prints no cost")
	smoke := flag.Bool("smoke", false, "a small run on a simulated server that only checks for errors")
	flag.Parse()
	s.scale = 1
	if *smoke {
		*numbers, s.rounds, s.url, s.scale = "10", 1, "", 20
	}
	for text := range strings.SplitSeq(*numbers, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "live: -n takes numbers of agents, not %q\n", text)
			os.Exit(2)
		}
		s.numbers = append(s.numbers, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "live:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, s settings) error {
	what := "the server at " + s.url
	if s.url == "" {
		sim, err := vllmsim.New(vllmsim.Config{Profile: s.profile, TimeScale: s.scale})
		if err != nil {
			return err
		}
		url, stop, err := sim.Start(ctx, "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer func() { _ = stop() }()
		what = fmt.Sprintf("A SIMULATED SERVER, profile %s, %g times as fast as its machine", s.profile, s.scale)
		s.url = "vllm://" + strings.TrimPrefix(url, "http://")
	}
	model, err := served(ctx, s.url)
	if err != nil {
		return err
	}
	root, err := s.writeDocuments()
	if err != nil {
		return err
	}
	defer os.RemoveAll(root.Name())
	defer root.Close()
	figures.Header(os.Stdout, "bench/live", "server: "+what, "model: "+model)
	arms := s.arms()
	for round := range s.rounds {
		for i := range arms {
			a := arms[(i+round)%len(arms)]
			out, err := s.prepared(a, root, round).Do(ctx)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", a.name(), round+1, err)
			}
			a.add(out)
			a.line(os.Stdout, round+1, out)
		}
	}
	return summary(os.Stdout, s, arms)
}

// served returns the server's model.
func served(ctx context.Context, url string) (string, error) {
	b, err := dial.Open(ctx, url, dial.Options{})
	if err != nil {
		return "", fmt.Errorf("-backend: %w", err)
	}
	defer b.Close()
	models, err := b.Models(ctx)
	if err != nil {
		return "", fmt.Errorf("-backend: %w", err)
	}
	if len(models) == 0 {
		return "", fmt.Errorf("-backend: %s serves no model", b.Endpoint())
	}
	if models[0].Simulated {
		return models[0].ID + " (simulated)", nil
	}
	return models[0].ID, nil
}

func documentName(i int) string { return fmt.Sprintf("document-%d.txt", i) }

func (s settings) writeDocuments() (*os.Root, error) {
	dir, err := os.MkdirTemp("", "bench-live-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	for i := range s.documents {
		if err := os.WriteFile(filepath.Join(dir, documentName(i)), []byte(s.text(i)), 0o600); err != nil {
			return nil, fmt.Errorf("write a document: %w", err)
		}
	}
	return os.OpenRoot(dir)
}

func (s settings) text(i int) string { return prose.Text(documentName(i), s.document) }

// prepared returns an arm's batch. Its words are different in every run.
func (s settings) prepared(a *arm, root *os.Root, round int) realrun.Run {
	name := fmt.Sprintf("Run %s of round %d, %d.", a.name(), round, time.Now().UnixNano())
	r := realrun.Run{URL: s.url, Told: a.admitted, System: name + " " + prose.Text(name, s.prefix), Turns: 1, Output: s.output}
	if a.tool {
		r.Turns, r.Tool, r.Call = 2, builtin.ReadFile(root, nil), readWhatIsNamed
	}
	for i := range a.agents {
		document := i % s.documents
		text := fmt.Sprintf("Question %d: %s? It is about %s.", i, prose.Text(fmt.Sprint(name, i), s.question), documentName(document))
		if !a.tool {
			text += "\n\n" + s.text(document)
		}
		r.Texts = append(r.Texts, text)
	}
	return r
}

var named = regexp.MustCompile(`document-\d+\.txt`)

// readWhatIsNamed returns the call that a model would make: for the document in the question.
func readWhatIsNamed(r *backend.Request, _ int) map[string]string {
	for _, m := range r.Messages {
		if m.Role == backend.RoleUser {
			return map[string]string{"path": named.FindString(m.Content)}
		}
	}
	return nil
}
