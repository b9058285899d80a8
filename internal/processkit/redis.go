package processkit

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is a private redis-server with an append-only file that is synced every second.
type Redis struct {
	*Process
	Address string
	client  *redis.Client
	dir     string
}

// StartRedis starts a redis-server on a free loopback port and waits until it answers. It turns off rewriting of the append-only
// file, which would disturb random runs.
func StartRedis(ctx context.Context) (*Redis, error) {
	dir, err := os.MkdirTemp("", "bench-redis-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for redis-server: %w", err)
	}
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(address)
	p, err := Start("redis-server", nil, "--bind", host, "--port", port, "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("%w; install redis-server", err)
	}
	r := &Redis{Process: p, Address: address, dir: dir, client: redis.NewClient(&redis.Options{Addr: address})}
	if err := p.Until(ctx, "it answers", func() bool { return r.client.Ping(ctx).Err() == nil }); err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

// URL returns the address in the form that programs accept.
func (r *Redis) URL() string { return "redis://" + r.Address }

// Client returns a connection for checks that no tested program makes.
func (r *Redis) Client() *redis.Client { return r.client }

// Stop ends the server and removes its files.
func (r *Redis) Stop() {
	_ = r.client.Close()
	r.Process.Stop()
	_ = os.RemoveAll(r.dir)
}

// Clear empties the server and its append-only file, so that every run starts equally.
func (r *Redis) Clear(ctx context.Context) error {
	if err := r.client.FlushAll(ctx).Err(); err != nil {
		return fmt.Errorf("empty Redis: %w", err)
	}
	if err := r.client.BgRewriteAOF(ctx).Err(); err != nil {
		return fmt.Errorf("rewrite the append-only file: %w", err)
	}
	return r.Until(ctx, "the append-only file is rewritten", func() bool {
		info, err := r.Info(ctx, "persistence")
		return err == nil && info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0"
	})
}

// Info returns a section of INFO.
func (r *Redis) Info(ctx context.Context, section string) (map[string]string, error) {
	text, err := r.client.Info(ctx, section).Result()
	if err != nil {
		return nil, fmt.Errorf("ask Redis for INFO %s: %w", section, err)
	}
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			out[name] = value
		}
	}
	return out, nil
}

// MemoryUsed returns used_memory in bytes.
func (r *Redis) MemoryUsed(ctx context.Context) (int64, error) {
	info, err := r.Info(ctx, "memory")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(info["used_memory"], 10, 64)
}

// BusyCPU returns the processor time of the server's main thread, which limits its throughput.
func (r *Redis) BusyCPU(ctx context.Context) (time.Duration, error) {
	info, err := r.Info(ctx, "cpu")
	if err != nil {
		return 0, err
	}
	var total float64
	for _, field := range []string{"used_cpu_user_main_thread", "used_cpu_sys_main_thread"} {
		v, err := strconv.ParseFloat(info[field], 64)
		if err != nil {
			return 0, fmt.Errorf("read %s of INFO cpu: %w", field, err)
		}
		total += v
	}
	return time.Duration(total * float64(time.Second)), nil
}
