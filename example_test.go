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

func ExampleRunReduce() {
	type Finding struct {
		Claim string `json:"claim"`
	}
	type Survey struct {
		Agreed string `json:"agreed" jsonschema:"what all say"`
	}
	results, survey, err := batchagent.RunReduce(context.Background(), batchagent.Batch[Finding]{
		Task:   "What does {input} find?",
		Inputs: batchagent.Slice([]string{"a.txt", "b.txt", "c.txt"}),
	}, batchagent.Reduce[Survey]{
		Task: "On what do these {n} papers agree? {results}",
	}, batchagent.Simulated())
	fmt.Println(len(results), survey.Err, survey.Output.Agreed != "", err)
	// Output: 3 <nil> true <nil>
}

func ExampleRunPlan() {
	type Question struct {
		Topic string `json:"topic"`
		Text  string `json:"text" jsonschema:"one question, as a sentence"`
	}
	type Finding struct {
		Answer string `json:"answer"`
	}
	survey, err := batchagent.RunPlan(context.Background(), batchagent.Plan[Question]{
		Task:     "Which questions does a survey of caches have to answer? At most {max_items}.",
		MaxItems: 12,
	}, batchagent.Batch[Finding]{
		Task: "{topic}: {text}", // the fields of one Question
	}, batchagent.Reduce[string]{
		Task: "Sum up these {n} findings: {results}",
	}, batchagent.Simulated())
	fmt.Println(err, len(survey.Results) == len(survey.Plan.Output), survey.Summary.Output != "")
	// Output: <nil> true true
}

// On a cluster a program may be killed. After a restart it finds its batch and gets all its results.
func ExampleRedis() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var unreachable *batchagent.UnreachableError
	for r, err := range batchagent.Stream(ctx, batchagent.Batch[string]{
		Task:   "Sum up the ticket {id}: {text}",
		Inputs: batchagent.File("tickets.jsonl"),
		Model:  "qwen3-32b",
	}, batchagent.Redis("redis://redis-host:6379")) {
		switch {
		case errors.As(err, &unreachable):
			log.Fatal("is Redis up? ", err)
		case err != nil:
			log.Fatal(err) // also after an interrupt; the batch continues on the cluster
		case r.Err != nil:
			log.Printf("ticket %d: %v", r.Index, r.Err)
		default:
			fmt.Println(r.Index, r.Output)
		}
	}
}

// OnResult is called with each result when its job ends, and Run collects them. A batch that has used its budget ends early.
func ExampleBatch() {
	done := 0
	results, err := batchagent.Run(context.Background(), batchagent.Batch[string]{
		Task:        "Write a slogan for {input}.",
		Inputs:      batchagent.Slice([]string{"pumps", "lamps", "ropes"}),
		Sampling:    batchagent.Sampling{Temperature: new(0.7), MaxTokens: 200},
		BatchBudget: batchagent.Budget{USD: 2.50},
		Prices:      batchagent.Prices{Prompt: 0.15, Cached: 0.075, Completion: 0.60},
		OnResult:    func(batchagent.Result[string]) { done++ }, // on this goroutine, one at a time
	}, batchagent.Simulated())
	var paused *batchagent.PausedError
	if errors.As(err, &paused) {
		fmt.Println("stopped after", paused.Info.Used.USD, "dollars")
	}
	fmt.Println(done == len(results), len(results))
	// Output: true 3
}
