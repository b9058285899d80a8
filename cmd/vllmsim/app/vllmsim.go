// Package app is the program vllmsim: it serves a simulated vLLM for laptops, tests and benchmarks.
package app

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/pkg/vllmsim"
	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

// Exit statuses.
const (
	exitOK    = 0
	exitUsage = 2
)

// Main runs the program and exits. name is the command that starts it, as texts show it.
func Main(name string) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := runAs(ctx, name, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return runAs(ctx, "vllmsim", args, stdout, stderr)
}

// runAs serves until ctx is done. It returns the exit status: 0 after a stop, 2 if it could not start.
func runAs(ctx context.Context, name string, args []string, stdout, stderr io.Writer) int {
	app := &cli.App{
		Name:            name,
		Usage:           "a simulated vLLM server: its HTTP, its metrics and its errors, with made-up answers and no model",
		UsageText:       name + " --listen 127.0.0.1:8000 --forward-ms 60 [--seed N …]",
		Description:     strings.NewReplacer("   vllmsim ", "   "+name+" ", "   worker ", "   "+strings.TrimSuffix(name, "vllmsim")+"worker ").Replace(description),
		Writer:          stdout,
		ErrWriter:       stderr,
		Flags:           flags(),
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    func(_ *cli.Context, err error, _ bool) error { return err },
		Action:          func(c *cli.Context) error { return serve(c, stderr) },
	}
	if err := app.RunContext(ctx, args); err != nil {
		_, _ = fmt.Fprintf(stderr, "vllmsim: %s\nRun '%s --help' for the flags.\n", err, name)
		return exitUsage
	}
	return exitOK
}

func serve(c *cli.Context, stderr io.Writer) error {
	if c.Args().Present() {
		return fmt.Errorf("unexpected argument %q: vllmsim takes flags only", c.Args().First())
	}
	if policy := c.String("scheduling-policy"); policy != "fcfs" && policy != "priority" {
		return fmt.Errorf("--scheduling-policy must be fcfs or priority, not %q", policy)
	}
	s, err := vllmsim.New(config(c))
	if err != nil {
		return err
	}
	url, stop, err := s.Start(c.Context, c.String("listen"))
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stderr, "vllmsim: serving model %q at %s (answers are simulated)\n", c.String("model"), url)
	<-c.Done()
	_, _ = fmt.Fprintln(stderr, "vllmsim: stopping")
	return stop()
}

const description = `It speaks vLLM's OpenAI-compatible HTTP: chat completions (streamed and not), tool calls, /v1/models, /tokenize, /health,
/version and /metrics. It calls the declared tools with arguments from the prompt, then answers with JSON that matches
the schema in response_format or, without one, the first JSON Schema in the prompt.
Answers depend on --seed and the conversation only.

Point a worker at it:
   vllmsim --listen 127.0.0.1:8000 --forward-ms 60 &
   worker --redis redis://127.0.0.1:6379 --backend vllm://127.0.0.1:8000

Make it fail: --fault-503-rate 0.1 for one request in ten, or a header on one request:
   X-Sim-Status: 503       answer with this status
   X-Sim-Cut-After: 3      close the connection after 3 events (500b: after 500 bytes)
   X-Sim-Hang: 1           fall silent after the first event
   X-Sim-Delay-Ms: 2000    wait before the first token
   X-Sim-Tool-Turns: 3     call tools in 3 turns before answering

Every flag can be given as BATCHAGENT_<FLAG>, for example BATCHAGENT_FORWARD_MS=60.`

// Flag categories.
const (
	serving = "Serving"
	timing  = "Time and capacity"
	saying  = "Answers"
	failing = "Faults (rates are 0 to 1, per request)"
)

func flags() []cli.Flag {
	text := func(category, name, value, usage string) cli.Flag {
		return &cli.StringFlag{Category: category, Name: name, Value: value, Usage: usage, EnvVars: env(name)}
	}
	number := func(category, name string, value int, usage string) cli.Flag {
		return &cli.IntFlag{Category: category, Name: name, Value: value, Usage: usage, EnvVars: env(name)}
	}
	float := func(category, name string, usage string) cli.Flag {
		return &cli.Float64Flag{Category: category, Name: name, Usage: usage, EnvVars: env(name)}
	}
	return []cli.Flag{
		text(serving, "listen", "127.0.0.1:8000", "`ADDRESS` to listen on; port 0 takes a free one"),
		&cli.BoolFlag{Category: serving, Name: "allow-remote", Usage: "let other machines connect", EnvVars: env("allow-remote")},
		text(serving, "model", "sim", "model `ID` to serve"),
		number(serving, "max-model-len", 0, "`TOKENS` of context; 0 is 32768, or less where the KV cache is smaller"),
		&cli.StringFlag{
			Category: serving, Name: "api-key", EnvVars: env("api-key"), DefaultText: "none",
			Usage: "`KEY` that /v1 requires; prefer the variable, as flags show in process lists",
		},

		float(timing, "forward-ms", "`MS` of one model call up to its first token"),
		float(timing, "token-ms", "`MS` of each further token; 0 gives the whole answer after one forward pass"),
		text(timing, "profile", "", "`NAME` of a machine and model whose engine is simulated, instead of fixed latencies: "+strings.Join(batching.Profiles(), ", ")),
		&cli.Float64Flag{Category: timing, Name: "time-scale", Value: 1, Usage: "seconds of the profile's time per second: `X` = 10 is ten times as fast", EnvVars: env("time-scale")},
		text(timing, "scheduling-policy", "fcfs", "`POLICY` of the profile's engine: fcfs, or priority (lower is sooner)"),
		number(timing, "max-num-batched-tokens", 0, "tokens that the profile's engine computes in one step; 0 is the profile's"),
		number(timing, "max-num-seqs", 0, "requests that run at once, more wait in order; 0 is no limit, or the profile's"),
		number(timing, "max-num-queued-reqs", 0, "requests running and waiting, more get a 503; 0 is no limit"),
		number(timing, "kv-blocks", 0, "blocks of 16 tokens in the KV cache; 0 is 65536, or the profile's"),
		number(timing, "stream-interval", 16, "tokens per event when several are due at once"),

		&cli.Uint64Flag{Category: saying, Name: "seed", Usage: "`N` that answers and faults depend on", EnvVars: env("seed")},
		number(saying, "tool-turns", 1, "turns with a tool call before the answer; 0 answers at once"),

		float(failing, "fault-503-rate", "answer 503, as a full queue does"),
		float(failing, "fault-500-rate", "answer 500"),
		float(failing, "fault-429-rate", "answer 429 with Retry-After"),
		float(failing, "fault-cut-rate", "close the connection in the middle of the answer"),
		float(failing, "fault-hang-rate", "fall silent after the first event"),
		float(failing, "fault-slow-rate", "wait --fault-slow-ms before the first token"),
		float(failing, "fault-slow-ms", "`MS` that a slow request waits"),
		float(failing, "fault-malformed-rate", "write tool arguments that are not JSON"),
		float(failing, "fault-invalid-rate", "write a final answer that breaks its schema"),
		number(failing, "fault-every", 0, "fail every `N`th forward pass once with 500; 0 never does"),
	}
}

func env(flag string) []string {
	return []string{"BATCHAGENT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))}
}

func config(c *cli.Context) vllmsim.Config {
	turns := c.Int("tool-turns")
	if turns == 0 {
		turns = -1 // 0 in Config means the default
	}
	return vllmsim.Config{
		Model: c.String("model"), MaxModelLen: c.Int("max-model-len"), APIKey: c.String("api-key"), Seed: c.Uint64("seed"),
		ForwardMS: c.Float64("forward-ms"), TokenMS: c.Float64("token-ms"),
		Profile: c.String("profile"), TimeScale: c.Float64("time-scale"), BudgetTokens: c.Int("max-num-batched-tokens"),
		ByPriority: c.String("scheduling-policy") == "priority",
		MaxRunning: c.Int("max-num-seqs"), MaxQueued: c.Int("max-num-queued-reqs"), KVBlocks: c.Int("kv-blocks"),
		ToolTurns: turns, StreamInterval: c.Int("stream-interval"), AllowRemote: c.Bool("allow-remote"),
		Faults: vllmsim.Faults{
			Status503: c.Float64("fault-503-rate"), Status500: c.Float64("fault-500-rate"), Status429: c.Float64("fault-429-rate"),
			Cut: c.Float64("fault-cut-rate"), Hang: c.Float64("fault-hang-rate"),
			Slow: c.Float64("fault-slow-rate"), SlowMS: c.Float64("fault-slow-ms"),
			Malformed: c.Float64("fault-malformed-rate"), Invalid: c.Float64("fault-invalid-rate"), Every: c.Int("fault-every"),
		},
	}
}
