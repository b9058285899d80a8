package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/s3"
)

// uploadWithin limits an upload after the command was interrupted.
const uploadWithin = 10 * time.Minute

// recordEndings end the names of the files that a command keeps beside its results.
var recordEndings = []string{".jsonl", ".plan"}

// withOut calls do with the file of --out. If that is an object, do gets its local copy, which is uploaded when do has ended, also if it was
// interrupted.
func (e *env) withOut(c *cli.Context, do func(out string) error) error {
	out := c.String("out")
	if !s3.Is(out) {
		return do(out)
	}
	name, err := s3.Parse(out)
	if err != nil {
		return err
	}
	if err := collect.CheckOut(out, c.String("format")); err != nil {
		return err
	}
	client, err := s3.FromEnv(e.getenv)
	if err != nil {
		return err
	}
	defer client.Close()
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("find a folder for the copy of %s: %w", out, err)
	}
	m, err := client.Mirror(c.Context, filepath.Join(cache, "batchagent", "s3"), name, recordEndings...)
	if err != nil {
		return err
	}
	e.console.Rename(m.Path(), out)
	err = do(m.Path())
	ctx := c.Context
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), uploadWithin)
		defer cancel()
		e.console.Say("uploading " + out)
	}
	return errors.Join(err, m.Upload(ctx), m.Close())
}
