package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/batchagent/batchagent/internal/processkit"
)

const (
	asynqEnqueuers = 64
	asynqTask      = "job"
)

// runAsynq enqueues all jobs, and then starts a server that handles them. The queue is full when the server starts, so polling an
// empty queue costs it nothing.
func runAsynq(ctx context.Context, r *processkit.Redis, jobs, concurrency int) (took, error) {
	opt := asynq.RedisClientOpt{Addr: r.Address, PoolSize: max(concurrency, asynqEnqueuers) + 16}
	begin := time.Now()
	if err := enqueue(ctx, opt, jobs); err != nil {
		return took{}, err
	}
	full := time.Now()

	var handled atomic.Int64
	done := make(chan struct{})
	server := asynq.NewServer(opt, asynq.Config{Concurrency: concurrency, LogLevel: asynq.FatalLevel})
	err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		if handled.Add(1) == int64(jobs) {
			close(done)
		}
		return nil
	}))
	if err != nil {
		return took{}, fmt.Errorf("start asynq's server: %w", err)
	}
	defer server.Shutdown()
	select {
	case <-done:
	case <-ctx.Done():
		return took{}, context.Cause(ctx)
	}
	// The last handlers have returned, but their acknowledgements may still be in flight.
	for {
		n, err := r.Client().LLen(ctx, "asynq:{default}:active").Result()
		if err != nil {
			return took{}, err
		}
		if n == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return took{enqueue: full.Sub(begin), drain: time.Since(full)}, nil
}

func enqueue(ctx context.Context, opt asynq.RedisClientOpt, jobs int) error {
	client := asynq.NewClient(opt)
	defer client.Close()
	payload := []byte(strings.Repeat("x", inBytes))
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range asynqEnqueuers {
		g.Go(func() error {
			for next.Add(1) <= int64(jobs) {
				if _, err := client.EnqueueContext(ctx, asynq.NewTask(asynqTask, payload)); err != nil {
					return fmt.Errorf("enqueue: %w", err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}
