package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/operation"
)

func redisFlag() cli.Flag {
	return &cli.StringFlag{Name: "redis", EnvVars: config.Env("redis"), Value: config.DefaultRedis, Usage: "Redis `URL`; the password may also be in BATCHAGENT_REDIS_PASSWORD"}
}

func serverFlag() cli.Flag {
	return &cli.StringFlag{Name: "server", EnvVars: config.Env("server"), Usage: "`URL` of a `coordinator serve`, instead of Redis"}
}

func outFlag() cli.Flag {
	return &cli.StringFlag{Name: "out", DefaultText: "standard output", Usage: "write results to `FILE`, or to an object such as s3://bucket/r.jsonl; - means standard output"}
}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", EnvVars: config.Env("format"), DefaultText: "the one that the name of the file ends with, else jsonl", Usage: "`FORMAT` of the results: jsonl, csv, parquet, jsonl.gz or jsonl.zst"}
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

// selectionFlags select the rows that run.
func selectionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.Int64Flag{Name: "limit", Usage: "run the first `N` rows only", DefaultText: "all rows"},
		&cli.Int64Flag{Name: "sample", Usage: "run `N` rows only, chosen at random", DefaultText: "all rows"},
		&cli.Int64Flag{Name: "seed", Usage: "`NUMBER` that decides the rows of --sample: the same number, the same rows"},
	}
}

// selection reads the flags of [selectionFlags].
func selection(c *cli.Context) (operation.Selection, error) {
	s := operation.Selection{Limit: c.Int64("limit"), Sample: c.Int64("sample"), Seed: c.Int64("seed")}
	for _, name := range []string{"limit", "sample"} {
		if c.IsSet(name) && c.Int64(name) < 1 {
			return s, &fault.UsageError{Err: fmt.Errorf("--%s is a number of rows above 0", name)}
		}
	}
	if c.IsSet("seed") && s.Sample == 0 {
		return s, &fault.UsageError{Err: fmt.Errorf("--seed goes with --sample")}
	}
	return s, nil
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", EnvVars: config.Env("json"), Usage: "print JSON"}
}
