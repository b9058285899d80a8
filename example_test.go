package batchagent_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync/atomic"

	"github.com/batchagent/batchagent"
)

// Your program sets its server with batchagent.Backend("vllm://127.0.0.1:8000").
func ExampleRun() {
	type Label struct {
		Category string `json:"category" jsonschema:"one word"`
		Urgent   bool   `json:"urgent"`
	}
	results, err := batchagent.Run(context.Background(), batchagent.Batch[Label]{
		Task:   "Sort this ticket: {input}",
		Inputs: batchagent.Slice([]string{"My invoice is wrong.", "The router is dead."}),
	}, batchagent.Simulated())
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range results {
		fmt.Println(r.Index, r.Err, r.Output.Category != "", r.Turns)
	}
	// Output:
	// 0 <nil> true 1
	// 1 <nil> true 1
}

func ExampleStream() {
	done := 0
	for r, err := range batchagent.Stream(context.Background(), batchagent.Batch[string]{
		Task:   "Translate {word} into {language}.",
		Inputs: batchagent.Slice([]map[string]string{{"word": "bread", "language": "French"}, {"word": "salt", "language": "Dutch"}}),
	}, batchagent.Simulated()) {
		var failed *batchagent.Error
		switch {
		case err != nil: // the batch cannot go on
			log.Fatal(err)
		case errors.As(r.Err, &failed): // this job has no output
			fmt.Println(r.Index, failed.Type, failed.Message)
		default:
			done++
		}
	}
	fmt.Println(done, "translated")
	// Output: 2 translated
}

// Six agents look up the same order, and the function runs once.
func ExampleFunc() {
	type Order struct {
		ID string `json:"id" jsonschema:"number of the order"`
	}
	var calls atomic.Int64 // agents run in parallel, so calls of the function may overlap
	find := batchagent.Func("find_order", "Find an order by its number.", func(_ context.Context, o Order) (string, error) {
		calls.Add(1)
		return "two lamps, sent on Monday", nil
	})
	find.Share = batchagent.Pure
	letters := []string{"Where is it?", "Send it back.", "One lamp is broken.", "Thanks.", "Cancel it.", "Which colour?"}
	results, err := batchagent.Run(context.Background(), batchagent.Batch[struct {
		Reply string `json:"reply"`
	}]{
		Task:   "Look up the order with the id R-1001, then answer: {input}",
		Inputs: batchagent.Slice(letters),
		Tools:  []batchagent.Tool{find},
	}, batchagent.Simulated())
	fmt.Println(len(results), err, calls.Load())
	// Output: 6 <nil> 1
}

func ExampleReduce() {
	type Finding struct {
		Claim string `json:"claim"`
	}
	type Survey struct {
		Agreed string `json:"agreed" jsonschema:"what all say"`
	}
	var survey batchagent.Result[Survey]
	results, err := batchagent.Run(context.Background(), batchagent.Batch[Finding]{
		Task:   "What does {input} find?",
		Inputs: batchagent.Slice([]string{"a.txt", "b.txt", "c.txt"}),
		Reduce: batchagent.Reduce[Survey]{Task: "On what do these {n} papers agree? {results}", Into: &survey},
	}, batchagent.Simulated())
	fmt.Println(len(results), survey.Err, survey.Output.Agreed != "", err)
	// Output: 3 <nil> true <nil>
}

// A batch with all three stages: a planner, the jobs over its items, and a reducer.
func ExamplePlan() {
	type Question struct {
		Topic string `json:"topic"`
		Text  string `json:"text" jsonschema:"one question, as a sentence"`
	}
	type Finding struct {
		Answer string `json:"answer"`
	}
	var plan batchagent.Result[[]Question]
	var survey batchagent.Result[string]
	findings, err := batchagent.Run(context.Background(), batchagent.Batch[Finding]{
		Plan: batchagent.Plan[Question]{
			Task:     "Which questions does a survey of caches have to answer? At most {max_items}.",
			MaxItems: 12, Into: &plan,
		},
		Task:   "{topic}: {text}", // the fields of one Question
		Reduce: batchagent.Reduce[string]{Task: "Sum up these {n} findings: {results}", Into: &survey},
	}, batchagent.Simulated())
	fmt.Println(err, len(findings) == len(plan.Output), survey.Output != "")
	// Output: <nil> true true
}

// A program that may be killed gives its batch a Key. After a restart it finds the batch and gets all its results.
func ExampleSubmit() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cluster, err := batchagent.Connect(ctx, batchagent.ClusterConfig{URL: "redis://redis-host:6379"})
	var unreachable *batchagent.UnreachableError
	switch {
	case errors.As(err, &unreachable):
		log.Fatal("is Redis up? ", err)
	case err != nil:
		log.Fatal(err)
	}
	defer cluster.Close()
	batch, err := batchagent.Submit(ctx, cluster, batchagent.Batch[string]{
		Task:   "Sum up the ticket {id}: {text}",
		Inputs: batchagent.File("tickets.jsonl"),
		Agent:  batchagent.Agent{Model: "qwen3-32b"},
		Key:    "tickets-2026-11-30",
	})
	if err != nil {
		log.Print(err)
		return
	}
	for r, err := range batch.Results(ctx) {
		switch {
		case err != nil:
			log.Print(err) // also after an interrupt; the batch continues on the cluster
		case r.Err != nil:
			log.Printf("ticket %d: %v", r.Index, r.Err)
		default:
			fmt.Println(r.Index, r.Output)
		}
	}
}

// Another program follows the same batch by its ID, runs its failed jobs again, and reads the answer of its reducer.
func ExampleAttach() {
	ctx := context.Background()
	cluster, err := batchagent.Connect(ctx, batchagent.ClusterConfig{URL: "http://127.0.0.1:8080"}) // a `coordinator serve`
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	var summary batchagent.Result[string]
	batch, err := batchagent.Attach[string](ctx, cluster, os.Args[1], batchagent.Reduce[string]{Into: &summary})
	if errors.Is(err, batchagent.ErrNotFound) {
		log.Print("the results are gone after the TTL of the batch")
		return
	}
	status, err := batch.Status(ctx)
	if err == nil && status.State.Ended() && status.Failed > 0 {
		err = batch.Retry(ctx)
	}
	if err != nil {
		log.Print(err)
		return
	}
	results, err := batch.Wait(ctx)
	fmt.Println(len(results), err, summary.Output)
}

// A worker of a cluster in a Go program. Batches may name find_order as soon as it runs.
func ExampleWorker() {
	type Order struct {
		ID string `json:"id" jsonschema:"number of the order"`
	}
	find := batchagent.Func("find_order", "Find an order by its number.", func(_ context.Context, o Order) (string, error) {
		return "two lamps, sent on Monday", nil // read your database here
	})
	find.Share = batchagent.Pure
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt) // an interrupt drains the worker
	defer stop()
	err := batchagent.Worker{
		Redis: "redis://redis-host:6379", Backend: "vllm://127.0.0.1:8000", Tools: []batchagent.Tool{find},
	}.Run(ctx)
	if err != nil {
		log.Fatal(err)
	}
}

// A batch that has used its budget ends early.
func ExampleBatch() {
	results, err := batchagent.Run(context.Background(), batchagent.Batch[string]{
		Task:   "Write a slogan for {input}.",
		Inputs: batchagent.Slice([]string{"pumps", "lamps", "ropes"}),
		Agent: batchagent.Agent{
			Sampling: batchagent.Sampling{Temperature: new(0.7), MaxTokens: 200},
			Prices:   batchagent.Prices{Prompt: 0.15, Cached: 0.075, Completion: 0.60},
		},
		BatchBudget: batchagent.Budget{USD: 2.50},
	}, batchagent.Simulated())
	var paused *batchagent.PausedError
	if errors.As(err, &paused) {
		fmt.Println("stopped after", paused.Used.USD, "dollars")
	}
	fmt.Println(len(results))
	// Output: 3
}
