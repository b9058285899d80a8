// Command table1 runs one job twice: in naive.go with a direct client of an OpenAI-compatible server, and in batchagent.go with
// batchagent. Both do the same. Every agent reads the returns policy with a tool, judges one letter by it, and answers with a
// verdict.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"time"

	"github.com/batchagent/batchagent/pkg/vllmsim"
)

// outcome is one agent's verdict, or an error.
type outcome struct {
	verdict verdict
	err     error
}

// policy is the document that the tool reads. A read takes as long as with a slow disk or a web service. policy counts the reads.
type policy struct{ reads atomic.Int64 }

// question is the argument of the tool.
type question struct {
	Path string `json:"path" jsonschema:"the file to read"`
}

func (p *policy) read(ctx context.Context, q question) (string, error) {
	p.reads.Add(1)
	select {
	case <-time.After(200 * time.Millisecond):
		return "Goods may be sent back within 30 days, unworn. Custom-made goods may not.", nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// letters returns n letters from customers.
func letters(n int) []string {
	wishes := []string{"want to send the shoes back after a week", "wore the coat once", "ordered a ring with a name in it", "bought this lamp in spring"}
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("Customer %d: I %s.", i+1, wishes[i%len(wishes)])
	}
	return out
}

func main() {
	n := flag.Int("n", 50, "how many agents")
	server := flag.String("backend", "", "`host:port` of an OpenAI-compatible server; empty starts a simulated one with 60 ms per call")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	address := *server
	if address == "" {
		url, end, err := simulator()
		if err != nil {
			log.Fatal(err)
		}
		defer func() { _ = end() }()
		address = url
		fmt.Println("the answers are simulated; use a real server with -backend 127.0.0.1:8000")
	}
	fmt.Printf("%-12s %6s %8s %10s %6s %11s\n", "program", "N", "wall s", "agents/s", "ok", "tool reads")
	report("naive", *n, func(p *policy) []outcome { return naive(ctx, "http://"+address+"/v1", letters(*n), p.read) })
	report("batchagent", *n, func(p *policy) []outcome { return judged(ctx, "vllm://"+address, letters(*n), p) })
}

// judged runs judge and converts its results to outcomes.
func judged(ctx context.Context, url string, letters []string, p *policy) []outcome {
	results, err := judge(ctx, url, letters, p.read)
	if err != nil {
		return []outcome{{err: err}}
	}
	outcomes := make([]outcome, len(results))
	for i, r := range results {
		outcomes[i] = outcome{r.Output, r.Err}
	}
	return outcomes
}

// simulator starts a server with the timing of Table 1: 60 ms per model call.
func simulator() (address string, stop func() error, err error) {
	sim, err := vllmsim.New(vllmsim.Config{ForwardMS: 60})
	if err != nil {
		return "", nil, err
	}
	url, stop, err := sim.Start(context.Background(), "127.0.0.1:0")
	return strings.TrimPrefix(url, "http://"), stop, err
}

func report(name string, n int, run func(*policy) []outcome) {
	p := &policy{}
	began := time.Now()
	outcomes := run(p)
	wall := time.Since(began).Seconds()
	ok := 0
	for _, o := range outcomes {
		if o.err == nil {
			ok++
		}
	}
	fmt.Printf("%-12s %6d %8.2f %10.1f %6d %11d\n", name, n, wall, float64(n)/wall, ok, p.reads.Load())
}
