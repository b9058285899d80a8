package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/client"
	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/coordinator"
	"github.com/batchagent/batchagent/internal/tracing"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

func commands(s streams, con *coordinator.Console) []*cli.Command {
	e := &env{streams: s, console: con}
	all := []*cli.Command{
		{
			Name: "run", ArgsUsage: "SPEC", Usage: "run a batch on this machine, with nothing else installed",
			Description: `The model server is the first of: --backend, the spec's backend, BATCHAGENT_BACKEND, an OpenAI-compatible
server on 127.0.0.1:8000, and otherwise a simulated one, which the run reports. Results go to standard output as they end,
or to --out. After Ctrl-C it prints the command that runs the rest. With --resume, jobs keep the results in --out that answer
the same question, even if inputs moved. Other jobs run, and jobs with a retryable error run again.`,
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "backend", Usage: "model server `URL`, as vllm://host:8000"},
				&cli.BoolFlag{Name: "insecure-keys", Usage: "send keys to hosts in BATCHAGENT_KEY_HOSTS over plain HTTP, too"},
				&cli.IntFlag{Name: "workers", EnvVars: config.Env("workers"), Value: 1, Usage: "`N` workers in this process"},
				&cli.IntFlag{Name: "max-inflight", EnvVars: config.Env("max-inflight"), DefaultText: "the backend's safe number", Usage: "at most `N` model requests in flight per worker"},
				outFlag(), formatFlag(), ownerFlag(), rootFlag(),
				toolsFlag(),
				&cli.StringFlag{Name: "reuse", Usage: "take results from `FILE` for jobs with the same question, instead of running them"},
				&cli.BoolFlag{Name: "fail-fast", EnvVars: config.Env("fail-fast"), Usage: "end the run as soon as the server refuses the key, the account or the model, also after answers"},
				&cli.DurationFlag{Name: "wait-for-server", EnvVars: config.Env("wait-for-server"), DefaultText: "until it answers", Usage: "end the run when the server has not answered for `DURATION`; jobs without a result stay unfinished"},
				&cli.BoolFlag{Name: "resume", Usage: "keep the results in --out that still match their jobs, and run the other jobs"},
				&cli.BoolFlag{Name: "echo", Hidden: true, Usage: "with --out: write results to standard output, too, those in --out first"},
				&cli.BoolFlag{Name: "force", Usage: "with --resume: drop results that match no job, even if they are most of --out"},
				&cli.StringFlag{Name: "log-level", EnvVars: config.Env("log-level"), Value: "error", Usage: "debug, info, warn or error"},
			},
			Action: e.run,
		},
		{
			Name: "submit", ArgsUsage: "SPEC", Usage: "submit a batch, and print its ID on standard output",
			Description: `The spec and all inputs are checked first. If the command is killed, run it again to submit the rest. With
--follow it waits until the batch is done: results go to --out, or to standard output after the ID.

With --durable the ID is printed once the batch survives a loss of its Redis server: all replicas have it (WAIT), and it is on
the server's disk (appendfsync always, or WAITAOF from Redis 7.2 on). If the server supports neither, nothing is submitted.`,
			Flags: []cli.Flag{
				redisFlag(), serverFlag(), tokenFileFlag(), ownerFlag(), rootFlag(), outFlag(), formatFlag(),
				&cli.BoolFlag{Name: "durable", EnvVars: config.Env("durable"), Usage: "wait until replicas and disk have the batch"},
				&cli.StringFlag{
					Name:  "reuse",
					Usage: "take results for jobs with the same question from `BATCH`, from a results file, or, with the word owner, from all your batches",
				},
				&cli.BoolFlag{Name: "follow", EnvVars: config.Env("follow"), Usage: "wait until the batch is done, and collect its results"},
			},
			Action: e.submit,
		},
		{
			Name: "status", ArgsUsage: "BATCH", Usage: "show the progress of a batch and its workers",
			Description: `With --watch the progress is shown on standard error until the batch is done, live on a terminal and every few seconds
elsewhere. The final status goes to standard output. NO_COLOR disables colours.`,
			Flags: []cli.Flag{
				redisFlag(), serverFlag(), tokenFileFlag(), jsonFlag(),
				&cli.BoolFlag{Name: "watch", EnvVars: config.Env("watch"), Usage: "show the progress until the batch is done"},
			},
			Action: e.status,
		},
		{
			Name: "explain", ArgsUsage: "[BATCH]", Usage: "show where a batch's time went, its bottleneck and how to widen it",
			Description: `It adds up the times in the results that Redis still has, or those of a results file (jsonl) with --results FILE.`,
			Flags: []cli.Flag{
				redisFlag(), serverFlag(), tokenFileFlag(), jsonFlag(), &cli.PathFlag{Name: "results", Usage: "read the results `FILE` of a run instead of Redis"},
			},
			Action: e.explain,
		},
		{
			Name: "results", ArgsUsage: "BATCH", Usage: "write the results to standard output or to a file",
			Description: `If the command is killed, run it again with the same --out: it adds the missing results. After "retry" the new
results replace the old ones in the file. With --consume, Redis drops each result once it is safe in the file.`,
			Flags: []cli.Flag{
				redisFlag(), serverFlag(), tokenFileFlag(), outFlag(), formatFlag(),
				&cli.BoolFlag{Name: "follow", EnvVars: config.Env("follow"), Usage: "wait until the batch is done"},
				&cli.BoolFlag{Name: "ordered", EnvVars: config.Env("ordered"), Usage: "write results in the order of the inputs"},
				&cli.BoolFlag{Name: "consume", Usage: "drop results from Redis once they are on disk in --out"},
			},
			Action: e.results,
		},
		{Name: "batches", Usage: "list all batches, newest first", Flags: []cli.Flag{redisFlag(), serverFlag(), tokenFileFlag(), jsonFlag()}, Action: e.batches},
		{Name: "workers", Usage: "list the workers that are alive", Flags: []cli.Flag{redisFlag(), serverFlag(), tokenFileFlag(), jsonFlag()}, Action: e.workers},
		{
			Name: "cancel", ArgsUsage: "BATCH", Usage: "end a batch: jobs without a result get a cancelled one",
			Flags: []cli.Flag{redisFlag(), serverFlag(), tokenFileFlag()}, Action: e.control(coordinator.Cancel, (*client.Client).Cancel),
		},
		{
			Name: "retry", ArgsUsage: "BATCH", Usage: "run the failed jobs of a batch again",
			Flags: []cli.Flag{redisFlag(), serverFlag(), tokenFileFlag()}, Action: e.control(coordinator.Retry, (*client.Client).Retry),
		},
		{
			Name: "budget", ArgsUsage: "BATCH", Usage: "set how many tokens or US dollars a batch may use; a paused batch resumes",
			Flags: []cli.Flag{
				redisFlag(), serverFlag(), tokenFileFlag(),
				&cli.Int64Flag{Name: "tokens", Usage: "at most `N` tokens, prompt and completion", DefaultText: "as before"},
				&cli.Float64Flag{Name: "usd", Usage: "at most `X` US dollars, by the spec's prices", DefaultText: "as before"},
			},
			Action: e.budget,
		},
		{
			Name: "resolve", ArgsUsage: "BATCH JOB", Usage: "report how a call with side effects ended, and resume its job",
			Description: `For a job that failed as EffectUnknown: its worker died while a tool with on_unknown: ask ran. Check whether the
call had its effect, and report it.`,
			Flags: []cli.Flag{
				redisFlag(), serverFlag(), tokenFileFlag(),
				&cli.StringFlag{Name: "outcome", Usage: "`WHAT` happened: done (it had its effect), failed (it had none), again (run it once more)"},
				&cli.StringFlag{Name: "result", Usage: "the `TEXT` that the model reads as the call's result", DefaultText: "a sentence with the outcome"},
				&cli.StringFlag{Name: "call", Usage: "which `CALL` of the job, as 2.0 for the first one of turn 2", DefaultText: "the only one"},
			},
			Action: e.resolve,
		},
		{
			Name: "rm", ArgsUsage: "BATCH", Usage: "remove a batch that is done, with its results",
			Flags: []cli.Flag{redisFlag(), serverFlag(), tokenFileFlag()}, Action: e.control(coordinator.Remove, (*client.Client).Remove),
		},
		{
			Name: "validate", ArgsUsage: "SPEC", Usage: "check a spec and its inputs, and show what would be submitted",
			Description: "Redis is used only if the inputs are another batch's results.",
			Flags:       []cli.Flag{rootFlag(), redisFlag()}, Action: e.validate,
		},
		{Name: "backends", Usage: "list the kinds of model servers and their capabilities", Action: e.backends},
		serveCommand(e),
		tokenCommand(e),
		completionCommand(e),
		{
			Name: "doctor", Usage: "check Redis, a model server and the tools, and show how to fix each problem",
			Description: `The model server gets a few short requests, among them one tool call and one answer with a schema. Redis is optional if
--backend is given and --redis is not. Exit status: 0 no problem, 1 a problem, 3 Redis or the model server cannot be reached.`,
			Flags: []cli.Flag{
				redisFlag(), rootFlag(), toolsFlag(),
				&cli.StringFlag{Name: "backend", EnvVars: config.Env("backend"), Usage: "model server `URL`, as vllm://host:8000"},
			},
			Action: e.doctor,
		},
	}
	for _, c := range all {
		c.OnUsageError = usage
		c.HideHelpCommand = true
	}
	return all
}

func redisFlag() cli.Flag {
	return &cli.StringFlag{Name: "redis", EnvVars: config.Env("redis"), Value: config.DefaultRedis, Usage: "Redis `URL`; the password may also be in BATCHAGENT_REDIS_PASSWORD"}
}

func outFlag() cli.Flag {
	return &cli.StringFlag{Name: "out", DefaultText: "standard output", Usage: "write results to `FILE`; - means standard output"}
}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", EnvVars: config.Env("format"), DefaultText: "csv for a file that ends in .csv, else jsonl", Usage: "`FORMAT` of the results: jsonl or csv"}
}

func ownerFlag() cli.Flag {
	return &cli.StringFlag{Name: "owner", EnvVars: config.Env("owner"), DefaultText: "the spec's, else your user name", Usage: "`NAME` shown in lists"}
}

func rootFlag() cli.Flag {
	return &cli.StringFlag{Name: "tools-root", EnvVars: config.Env("tools-root"), Value: ".", Usage: "root `DIR` of read_file; globbed paths are relative to it"}
}

func toolsFlag() cli.Flag {
	return &cli.StringFlag{Name: "tools", EnvVars: config.Env("tools"), Usage: "`FILE` that declares more tools: MCP servers, databases, commands, web services", DefaultText: "built-in tools only"}
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", EnvVars: config.Env("json"), Usage: "print JSON"}
}

// env is the environment of the commands.
type env struct {
	streams
	console *coordinator.Console
}

// one returns the command's only argument.
func one(c *cli.Context, what string) (string, error) {
	if c.Args().Len() != 1 {
		return "", &coordinator.UsageError{Err: fmt.Errorf("`coordinator %s` takes one %s; `coordinator %s --help` explains it", c.Command.Name, what, c.Command.Name)}
	}
	return c.Args().First(), nil
}

func none(c *cli.Context) error {
	if c.Args().Present() {
		return &coordinator.UsageError{Err: fmt.Errorf("unexpected argument %q; `coordinator %s --help` explains the flags", c.Args().First(), c.Command.Name)}
	}
	return nil
}

func (e *env) connect(c *cli.Context) (*statestore.Store, error) {
	to, err := config.ReadRedis(c.String("redis"), e.getenv)
	if err != nil {
		return nil, &coordinator.UsageError{Err: err}
	}
	return coordinator.Connect(c.Context, to)
}

// batchID parses the command's only argument as a batch ID.
func batchID(c *cli.Context) (batch.ID, error) {
	arg, err := one(c, "batch ID")
	if err != nil {
		return "", err
	}
	return parseID(arg)
}

func parseID(arg string) (batch.ID, error) {
	id, err := batch.ParseID(arg)
	if err != nil {
		return "", &coordinator.UsageError{Err: err}
	}
	return id, nil
}

// batch returns the batch that the command names, and its store.
func (e *env) batch(c *cli.Context) (*statestore.Store, batch.ID, error) {
	id, err := batchID(c)
	if err != nil {
		return nil, "", err
	}
	store, err := e.find(c, id)
	return store, id, err
}

// find opens the store and checks that the batch exists.
func (e *env) find(c *cli.Context, id batch.ID) (*statestore.Store, error) {
	store, err := e.connect(c)
	if err != nil {
		return nil, err
	}
	if err := coordinator.Find(c.Context, store, id); err != nil {
		_ = store.Close()
		return nil, err
	}
	return store, nil
}

func (e *env) run(c *cli.Context) error {
	path, err := one(c, "spec file")
	if err != nil {
		return err
	}
	log, err := config.Logger(e.console.Stderr(), c.String("log-level"), "text")
	if err != nil {
		return &coordinator.UsageError{Err: err}
	}
	tracer, endTraces, err := tracing.Start(c.Context, tracing.Config{Service: "batchagent-run", Instance: "local", Getenv: e.getenv, Logger: log})
	if err != nil {
		return &coordinator.UsageError{Err: err}
	}
	defer endTraces()
	return coordinator.Run(c.Context, coordinator.RunOptions{
		Spec: path, Backend: c.String("backend"), InsecureKeys: c.Bool("insecure-keys"), Owner: c.String("owner"), Workers: c.Int("workers"),
		MaxInflight: c.Int("max-inflight"), Out: c.String("out"), Format: c.String("format"), Resume: c.Bool("resume"), Echo: c.Bool("echo"), Force: c.Bool("force"),
		Reuse: c.String("reuse"), Command: resuming(c, os.Args[0]),
		Wait:      coordinator.ServerWait{FailFast: c.Bool("fail-fast"), Longest: c.Duration("wait-for-server")},
		ToolsRoot: c.String("tools-root"), ToolsFile: c.String("tools"), Drivers: drivers, Local: dial.DefaultAddress, Stdin: e.in, Getenv: e.getenv, Logger: log, Tracer: tracer,
	}, e.console)
}

func (e *env) submit(c *cli.Context) (err error) {
	path, err := one(c, "spec file")
	if err != nil {
		return err
	}
	if c.String("out") != "" && !c.Bool("follow") {
		return &coordinator.UsageError{Err: fmt.Errorf("--out goes with --follow; without it, `coordinator results` collects")}
	}
	if err := coordinator.CheckOut(c.String("out"), c.String("format")); err != nil {
		return err
	}
	if c.String("server") != "" {
		for _, name := range []string{"durable", "reuse"} {
			if c.IsSet(name) {
				return &coordinator.UsageError{Err: fmt.Errorf("--%s goes with --redis, not with --server", name)}
			}
		}
	}
	connect, closeStore := coordinator.Once(func(context.Context) (*statestore.Store, error) { return e.connect(c) })
	defer closeStore()
	o := coordinator.SubmitOptions{
		Spec: path, Owner: c.String("owner"), ToolsRoot: c.String("tools-root"), Durable: c.Bool("durable"), Stdin: e.in, Connect: connect,
	}
	if c.String("server") != "" {
		o.Connect = nil // the user of a server may not have access to its Redis
	}
	s, err := coordinator.Prepare(c.Context, o, e.console)
	if err != nil {
		return err
	}
	defer s.Close()
	if c.String("server") != "" {
		return e.submitTo(c, s)
	}
	store, err := connect(c.Context)
	if err != nil {
		return err
	}
	for _, warning := range store.Warnings(c.Context) {
		e.console.Say("warning: " + warning)
	}
	if err := s.CheckTools(c.Context, store); err != nil {
		return err
	}
	if from := c.String("reuse"); from != "" {
		if err := s.Reuse(c.Context, from, store); err != nil {
			return err
		}
	}
	if err := s.Submit(c.Context, store); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(e.console.Stdout(), s.ID); err != nil {
		return err
	}
	if err := s.Announced(c.Context); err != nil {
		return err
	}
	if !c.Bool("follow") {
		return nil
	}
	return coordinator.Results(c.Context, store, s.ID, coordinator.ResultsOptions{
		Follow: true, Out: c.String("out"), Format: c.String("format"), Command: following(c, os.Args[0], s.ID),
	}, e.console)
}

func (e *env) results(c *cli.Context) error {
	o := coordinator.ResultsOptions{
		Follow: c.Bool("follow"), Ordered: c.Bool("ordered"), Consume: c.Bool("consume"), Out: c.String("out"), Format: c.String("format"),
	}
	if c.String("server") != "" {
		return e.overServer(c, func(s *client.Client, id batch.ID) error {
			if o.Consume {
				return &coordinator.UsageError{Err: fmt.Errorf("--consume goes with --redis, not with --server")}
			}
			o.Command = following(c, os.Args[0], id)
			return coordinator.Results(c.Context, s, id, o, e.console)
		})
	}
	store, id, err := e.batch(c)
	if err != nil {
		return err
	}
	defer store.Close()
	o.Command = following(c, os.Args[0], id)
	return coordinator.Results(c.Context, store, id, o, e.console)
}

func (e *env) explain(c *cli.Context) error {
	explanation, err := e.explanation(c)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return coordinator.WriteJSON(e.console.Stdout(), explanation)
	}
	return coordinator.WriteExplanation(e.console.Stdout(), explanation)
}

func (e *env) explanation(c *cli.Context) (coordinator.Explanation, error) {
	if path := c.Path("results"); path != "" {
		return coordinator.ExplainFile(path)
	}
	if c.String("server") != "" {
		var explanation coordinator.Explanation
		err := e.overServer(c, func(s *client.Client, id batch.ID) (err error) {
			explanation, err = s.Explain(c.Context, id)
			return err
		})
		return explanation, err
	}
	store, id, err := e.batch(c)
	if err != nil {
		return coordinator.Explanation{}, err
	}
	defer store.Close()
	return coordinator.Explain(c.Context, store, id, e.console)
}

func (e *env) batches(c *cli.Context) error {
	read := func(s *statestore.Store, ctx context.Context) ([]coordinator.Listed, error) {
		return coordinator.List(ctx, s, 0)
	}
	return list(e, c, read, (*client.Client).Batches, func(w io.Writer, infos []coordinator.Listed) error {
		return coordinator.WriteBatches(w, infos, time.Now())
	})
}

func (e *env) workers(c *cli.Context) error {
	return list(e, c, (*statestore.Store).Workers, (*client.Client).Workers, coordinator.WriteWorkers)
}

func list[T any](e *env, c *cli.Context, read func(*statestore.Store, context.Context) ([]T, error),
	ask func(*client.Client, context.Context) ([]T, error), show func(io.Writer, []T) error) error {
	if err := none(c); err != nil {
		return err
	}
	rows, err := rowsOf(e, c, read, ask)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		if rows == nil {
			rows = []T{}
		}
		return coordinator.WriteJSON(e.console.Stdout(), rows)
	}
	return show(e.console.Stdout(), rows)
}

func rowsOf[T any](e *env, c *cli.Context, read func(*statestore.Store, context.Context) ([]T, error),
	ask func(*client.Client, context.Context) ([]T, error)) ([]T, error) {
	if c.String("server") != "" {
		s, err := e.server(c)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		return ask(s, c.Context)
	}
	store, err := e.connect(c)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	return read(store, c.Context)
}

func (e *env) control(do func(context.Context, *statestore.Store, batch.ID, *coordinator.Console) error,
	ask func(*client.Client, context.Context, batch.ID, *coordinator.Console) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.String("server") != "" {
			return e.overServer(c, func(s *client.Client, id batch.ID) error { return ask(s, c.Context, id, e.console) })
		}
		store, id, err := e.batch(c)
		if err != nil {
			return err
		}
		defer store.Close()
		return do(c.Context, store, id, e.console)
	}
}

func (e *env) budget(c *cli.Context) error {
	b := batch.Budget{Tokens: c.Int64("tokens"), USD: c.Float64("usd")}
	if c.IsSet("tokens") && b.Tokens == 0 || c.IsSet("usd") && b.USD == 0 {
		return &coordinator.UsageError{Err: fmt.Errorf("a budget of 0 is no limit; to stop the batch, run `coordinator cancel`")}
	}
	if c.String("server") != "" {
		return e.overServer(c, func(s *client.Client, id batch.ID) error { return s.SetBudget(c.Context, id, b, e.console) })
	}
	store, id, err := e.batch(c)
	if err != nil {
		return err
	}
	defer store.Close()
	return coordinator.SetBudget(c.Context, store, id, b, e.console)
}

func (e *env) resolve(c *cli.Context) error {
	if c.Args().Len() != 2 {
		return &coordinator.UsageError{Err: fmt.Errorf("`coordinator resolve` takes a batch ID and a job, as job-3; `coordinator resolve --help` explains it")}
	}
	id, err := parseID(c.Args().First())
	if err != nil {
		return err
	}
	o := coordinator.ResolveOptions{Outcome: c.String("outcome"), Text: c.String("result"), Call: c.String("call")}
	if c.String("server") != "" {
		s, err := e.server(c)
		if err != nil {
			return err
		}
		defer s.Close()
		return s.Resolve(c.Context, id, c.Args().Get(1), o, e.console)
	}
	store, err := e.find(c, id)
	if err != nil {
		return err
	}
	defer store.Close()
	return coordinator.Resolve(c.Context, store, id, c.Args().Get(1), o, e.console)
}

func (e *env) validate(c *cli.Context) error {
	path, err := one(c, "spec file")
	if err != nil {
		return err
	}
	connect, closeStore := coordinator.Once(func(context.Context) (*statestore.Store, error) { return e.connect(c) })
	defer closeStore()
	return coordinator.Validate(c.Context, e.console.Stdout(), coordinator.SubmitOptions{
		Spec: path, ToolsRoot: c.String("tools-root"), Stdin: e.in, Connect: connect,
	})
}

func (e *env) backends(c *cli.Context) error {
	if err := none(c); err != nil {
		return err
	}
	return coordinator.Backends(c.Context, e.console.Stdout())
}

func (e *env) doctor(c *cli.Context) error {
	if err := none(c); err != nil {
		return err
	}
	to, err := config.ReadRedis(c.String("redis"), e.getenv)
	if err != nil {
		return &coordinator.UsageError{Err: err}
	}
	log, err := config.Logger(e.console.Stderr(), "error", "text")
	if err != nil {
		return err
	}
	return coordinator.Doctor(c.Context, e.console.Stdout(), coordinator.DoctorOptions{
		Redis: to, NoRedis: c.String("backend") != "" && !c.IsSet("redis"), Backend: c.String("backend"), ToolsRoot: c.String("tools-root"), ToolsFile: c.String("tools"), Drivers: drivers,
		Getenv: e.getenv, Logger: log,
	})
}
