package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/terminal"
)

func commands(s streams, con *terminal.Console) []*cli.Command {
	e := &env{streams: s, console: con}
	all := []*cli.Command{
		{
			Name: "run", ArgsUsage: "SPEC", Usage: "run a batch on this machine, with nothing else installed",
			Description: `The model server is the first of: --backend, the spec's backend, BATCHAGENT_BACKEND, an OpenAI-compatible
server on 127.0.0.1:8000, and otherwise a simulated one, which the run reports. Results go to standard output as they end,
or to --out. After Ctrl-C it prints the command that runs the rest. With --resume, jobs keep the results in --out that answer
the same question, even if inputs moved. Other jobs run, and jobs with a retryable error run again.`,
			Flags: append(selectionFlags(),
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
				&cli.StringFlag{
					Name:  "rerun",
					Usage: "run the rows again whose results in --out meet `CONDITION`, with the present prompt, and keep the others: failed, changed, 'output.score < 0.5'",
				},
				&cli.BoolFlag{Name: "echo", Hidden: true, Usage: "with --out: write results to standard output, too, those in --out first"},
				&cli.BoolFlag{Name: "force", Usage: "with --resume and --rerun: drop results that match no job, even if they are most of --out"},
				&cli.StringFlag{Name: "log-level", EnvVars: config.Env("log-level"), Value: "error", Usage: "debug, info, warn or error"},
			),
			Action: e.runHere,
		},
		{
			Name: "submit", ArgsUsage: "SPEC", Usage: "submit a batch, and print its ID on standard output",
			Description: `The spec and all inputs are checked first. If the command is killed, run it again to submit the rest. With
--follow it waits until the batch is done: results go to --out, or to standard output after the ID.

With --durable the ID is printed once the batch survives a loss of its Redis server: all replicas have it (WAIT), and it is on
the server's disk (appendfsync always, or WAITAOF from Redis 7.2 on). If the server supports neither, nothing is submitted.`,
			Flags: append(selectionFlags(),
				redisFlag(), serverFlag(), tokenFileFlag(), ownerFlag(), rootFlag(), outFlag(), formatFlag(),
				&cli.BoolFlag{Name: "durable", EnvVars: config.Env("durable"), Usage: "wait until replicas and disk have the batch"},
				&cli.StringFlag{
					Name:  "reuse",
					Usage: "take results for jobs with the same question from `BATCH`, from a results file, or, with the word owner, from all your batches",
				},
				&cli.StringFlag{
					Name:  "rerun",
					Usage: "run the rows of --from again whose results meet `CONDITION`, and keep its other results: failed, changed, 'output.score < 0.5'",
				},
				&cli.StringFlag{Name: "from", Usage: "the earlier `BATCH` of --rerun, or a results file"},
				&cli.BoolFlag{Name: "follow", EnvVars: config.Env("follow"), Usage: "wait until the batch is done, and collect its results"},
			),
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
		{Name: "batches", Usage: "list all batches, newest first", Flags: []cli.Flag{redisFlag(), serverFlag(), tokenFileFlag(), jsonFlag()}, Action: e.listBatches},
		{Name: "workers", Usage: "list the workers that are alive", Flags: []cli.Flag{redisFlag(), serverFlag(), tokenFileFlag(), jsonFlag()}, Action: e.listWorkers},
		{
			Name: "cancel", ArgsUsage: "BATCH", Usage: "end a batch: jobs without a result get a cancelled one",
			Flags: []cli.Flag{redisFlag(), serverFlag(), tokenFileFlag()}, Action: e.cancel,
		},
		{
			Name: "retry", ArgsUsage: "BATCH", Usage: "run the failed jobs of a batch again",
			Flags: []cli.Flag{redisFlag(), serverFlag(), tokenFileFlag()}, Action: e.retry,
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
			Flags: []cli.Flag{redisFlag(), serverFlag(), tokenFileFlag()}, Action: e.remove,
		},
		{
			Name: "validate", ArgsUsage: "SPEC", Usage: "check a spec and its inputs, and show what would be submitted",
			Description: "Redis is used only if the inputs are another batch's results.",
			Flags: append(selectionFlags(), rootFlag(), redisFlag(),
				&cli.BoolFlag{Name: "estimate", Usage: "count the tokens of all prompts with the model server's tokenizer"},
				&cli.StringFlag{Name: "backend", Usage: "with --estimate: model server `URL`, as vllm://host:8000", DefaultText: "the spec's, else BATCHAGENT_BACKEND, else one on this machine"},
			), Action: e.validate,
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
	all = append(all, savedCommands(e)...)
	for _, c := range all {
		c.OnUsageError = usage
		c.HideHelpCommand = true
	}
	return all
}

// env is the environment of the commands.
type env struct {
	streams
	console *terminal.Console
}

// one returns the command's only argument.
func one(c *cli.Context, what string) (string, error) {
	if c.Args().Len() != 1 {
		return "", &fault.UsageError{Err: fmt.Errorf("`coordinator %s` takes one %s; `coordinator %s --help` explains it", c.Command.Name, what, c.Command.Name)}
	}
	return c.Args().First(), nil
}

func none(c *cli.Context) error {
	if c.Args().Present() {
		return &fault.UsageError{Err: fmt.Errorf("unexpected argument %q; `coordinator %s --help` explains the flags", c.Args().First(), c.Command.Name)}
	}
	return nil
}
