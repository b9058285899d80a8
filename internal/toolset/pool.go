package toolset

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/shared"
)

// leaveTimeout limits the writes to Redis when a worker leaves the cluster.
const leaveTimeout = 3 * time.Second

// Replace adds a program's own tools. They replace tools of the same names.
func (s *Set) Replace(own []toolpool.Tool) {
	replaced := func(t toolpool.Tool) bool {
		return slices.ContainsFunc(own, func(o toolpool.Tool) bool { return o.Name == t.Name })
	}
	s.Tools = append(slices.DeleteFunc(s.Tools, replaced), own...)
}

// Join puts the tools into a pool that shares calls with the other workers of a cluster until leave is called. commands and
// blocking are clients of the cluster's Redis. worker is the worker's ID.
func (s *Set) Join(commands, blocking redis.Cmdable, worker string, log *slog.Logger) (pool *toolpool.Pool, leave func(), err error) {
	sharer, err := shared.New(shared.Config{
		Commands: commands, Blocking: blocking, Name: worker + "-" + strings.ToLower(rand.Text()[:10]), Logger: log,
	})
	if err != nil {
		return nil, nil, err
	}
	leave = func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		sharer.Close(ctx)
	}
	if pool, err = toolpool.New(toolpool.Config{Logger: log, Cluster: sharer}); err == nil {
		err = s.Register(pool)
	}
	if err != nil {
		leave()
		return nil, nil, err
	}
	return pool, leave, nil
}
