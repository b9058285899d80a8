package statestore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Phase returns the batch's phase. ErrNotFound. Repeatable.
func (s *Store) Phase(ctx context.Context, id batch.ID) (batch.Phase, error) {
	v, err := s.cmd.HGet(ctx, keyMeta(id), "phase").Result()
	if errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("batch %s: %w", id, ErrNotFound)
	}
	return batch.Phase(v), classify("read the phase of batch "+string(id), err)
}

// Plan returns the compiled spec that the batch was created with. ErrNotFound. Repeatable.
func (s *Store) Plan(ctx context.Context, id batch.ID) ([]byte, error) {
	v, err := s.cmd.Get(ctx, keyPlan(id)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("plan of batch %s: %w", id, ErrNotFound)
	}
	return v, classify("read the plan of batch "+string(id), err)
}

// Header returns the part of the batch from which a worker decides whether to claim. ErrNotFound. Repeatable.
func (s *Store) Header(ctx context.Context, id batch.ID) (batch.Header, error) {
	var h batch.Header
	v, err := s.cmd.HGet(ctx, keyMeta(id), "header").Bytes()
	if errors.Is(err, redis.Nil) {
		return h, fmt.Errorf("batch %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return h, classify("read the header of batch "+string(id), err)
	}
	if err := json.Unmarshal(v, &h); err != nil {
		return h, fmt.Errorf("decode the header of batch %s: %w", id, err)
	}
	return h, nil
}

// together reads in one transaction, so that the numbers are consistent. A server at its memory limit refuses every command of
// a transaction, even a read. It also refuses writes that would change the numbers, so there they are read one after the other.
func (s *Store) together(ctx context.Context, reads func(redis.Pipeliner) error) error {
	_, err := s.cmd.TxPipelined(ctx, reads)
	if redis.HasErrorPrefix(err, "EXECABORT") {
		_, err = s.cmd.Pipelined(ctx, reads)
	}
	return err
}

// Info returns the whole state of a batch. ErrNotFound. Repeatable.
func (s *Store) Info(ctx context.Context, id batch.ID) (batch.Info, error) {
	op := "read batch " + string(id)
	var info batch.Info
	var meta *redis.MapStringStringCmd
	var waiting, back *redis.IntCmd
	var pending *redis.XPendingCmd
	var ttl *redis.DurationCmd
	stages := []batch.Stage{batch.StageJobs, batch.StagePlan, batch.StageReduce}
	accounts := make([]*redis.SliceCmd, len(stages))
	err := s.together(ctx, func(p redis.Pipeliner) error {
		meta = p.HGetAll(ctx, keyMeta(id))
		waiting = p.XLen(ctx, keyJobs(id))
		pending = p.XPending(ctx, keyJobs(id), group)
		back = p.LLen(ctx, keyBack(id))
		ttl = p.PTTL(ctx, keyMeta(id))
		for i, stage := range stages {
			accounts[i] = p.HMGet(ctx, keyMeta(id.ForStage(stage)), accountFields...)
		}
		return nil
	})
	// XPENDING fails after a batch is done, because its job stream is gone. Only the first command must succeed.
	if meta.Err() != nil {
		return info, classify(op, err)
	}
	m := meta.Val()
	if len(m) == 0 {
		return info, fmt.Errorf("batch %s: %w", id, ErrNotFound)
	}
	if err := json.Unmarshal([]byte(m["header"]), &info.Header); err != nil {
		return info, fmt.Errorf("%s: decode its header: %w", op, err)
	}
	n := func(field string) int64 {
		v, _ := strconv.ParseInt(m[field], 10, 64)
		return v
	}
	info.Phase = batch.Phase(m["phase"])
	if m["models"] != "" {
		info.Models = strings.Split(m["models"], "\n")
	}
	if !info.AnyModel {
		info.Bound = m["model"]
	}
	for i, values := range accounts {
		a := parseAccount(values.Val())
		info.Used = info.Used.Plus(a.used)
		if info.Phase != batch.Done {
			info.Reserved = info.Reserved.Plus(a.reserved)
		}
		if stages[i] == batch.StageJobs {
			info.Budget = a.limits
		}
	}
	info.CreatedAt = time.UnixMilli(n("created")).UTC()
	info.Counts = batch.Counts{
		Fed: n("fed"), Total: n("total"), OK: n("ok"), Failed: n("failed"), Cancelled: n("cancelled"),
		Takeovers: n("takeovers"), Turns: n("turns"),
		Usage: batch.Usage{PromptTokens: n("prompt"), CachedTokens: n("cached"), CompletionTokens: n("completion"),
			ContextTokens: n("context"), Estimated: n("estimated") > 0},
		Tools: batch.ToolCounts{Asked: n("asked"), Executed: n("executed")},
	}
	if info.Phase == batch.Done {
		info.DoneAt = time.UnixMilli(n("done")).UTC()
		if d := ttl.Val(); d > 0 {
			info.ExpiresAt = info.DoneAt.Add(info.TTL)
		}
		return info, nil
	}
	info.Paused = info.Budget.Reached(info.Used) && info.Phase != batch.Cancelling
	if v := pending.Val(); v != nil {
		info.Counts.Running = v.Count - back.Val()
	}
	info.Counts.Waiting = waiting.Val() - info.Counts.Running
	return info, nil
}

// List returns all batches, newest first, and removes those whose TTL has passed from the lists. Repeatable.
func (s *Store) List(ctx context.Context) ([]batch.Info, error) { return s.list(ctx, -1) }

// Newest returns the first n batches of List. Repeatable.
func (s *Store) Newest(ctx context.Context, n int) ([]batch.Info, error) {
	if n <= 0 {
		return nil, nil
	}
	return s.list(ctx, int64(n)-1)
}

func (s *Store) list(ctx context.Context, last int64) ([]batch.Info, error) {
	ids, err := s.cmd.ZRevRange(ctx, keyBatches, 0, last).Result()
	if err != nil {
		return nil, classify("list batches", err)
	}
	out := make([]batch.Info, 0, len(ids))
	for _, id := range ids {
		info, err := s.Info(ctx, batch.ID(id))
		if errors.Is(err, ErrNotFound) {
			if err := s.forget(ctx, batch.ID(id)); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, nil
}

// forget removes a batch without a meta key from the global lists. Create writes meta before it lists a batch, so a listed
// batch without meta has expired or was removed.
func (s *Store) forget(ctx context.Context, id batch.ID) error {
	_, err := s.cmd.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRem(ctx, keyBatches, string(id))
		p.SRem(ctx, keyActive, string(id))
		return nil
	})
	return classify("forget batch "+string(id), err)
}

// Cancel gives every job without a result a cancelled one. Running agents stop at the next heartbeat of their worker. The next
// claim of a waiting job finishes it. Cancel returns the phase. ErrNotFound. Repeatable.
func (s *Store) Cancel(ctx context.Context, id batch.ID) (batch.Phase, error) {
	op := "cancel batch " + string(id)
	v, err := s.call(ctx, op, s.scripts.cancel, id, named{})
	if err != nil {
		return "", err
	}
	phase := batch.Phase(reply{v}.str())
	if phase == "" {
		return "", fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	return phase, nil
}

// SetBudget replaces the budget of a batch. A paused batch resumes if the new budget exceeds the used amount; the caller rings
// for it. ErrNotFound. Repeatable.
func (s *Store) SetBudget(ctx context.Context, id batch.ID, b batch.Budget) error {
	op := "set the budget of batch " + string(id)
	v, err := s.call(ctx, op, s.scripts.budget, id, named{"tokens": decimal(b.Tokens), "usd": amount(b.USD)})
	if err != nil {
		return err
	}
	if (reply{v}).num() == 0 {
		return fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	return nil
}

// Retry queues the failed jobs of a batch again and takes their results back. It returns how many. A job with a retryable
// failure resumes from its journal; any other job restarts without one. A batch whose plan failed is open again once its
// planner is retried, which is a batch of its own. ErrNotFound; ErrConflict: the batch is still open, or being cancelled.
// Repeatable.
func (s *Store) Retry(ctx context.Context, id batch.ID) (queued int64, err error) {
	indexes, err := s.cmd.HKeys(ctx, keyFailed(id)).Result()
	if err != nil {
		return 0, classify("retry batch "+string(id), err)
	}
	slices.SortFunc(indexes, func(a, b string) int {
		return cmp.Or(len(a)-len(b), strings.Compare(a, b)) // numeric order of decimal strings
	})
	return s.retry(ctx, "retry batch "+string(id), id, indexes)
}

// RetryJob does the same for one job.
func (s *Store) RetryJob(ctx context.Context, job batch.Job) (queued int64, err error) {
	return s.retry(ctx, "retry "+job.String(), job.Batch, []string{decimal(job.Index)})
}

func (s *Store) retry(ctx context.Context, op string, id batch.ID, indexes []string) (queued int64, err error) {
	phase, err := s.Phase(ctx, id)
	if err != nil {
		return 0, err
	}
	if phase == batch.Open || phase == batch.Cancelling {
		return 0, fmt.Errorf("%s: %w: it is %s", op, ErrConflict, phase)
	}
	for chunk := range slices.Chunk(indexes, MaxFeedJobs) {
		v, err := s.call(ctx, op, s.scripts.retry, id, named{"indexes": chunk})
		if err != nil {
			return queued, err
		}
		queued += reply{v}.at(1).num()
	}
	active := []any{string(id)}
	whole := id.Whole()
	if id.Stage() == batch.StagePlan {
		active = append(active, string(whole)) // it gets its jobs from the retried planner
	}
	if h, err := s.Header(ctx, whole); err == nil && h.Reduce {
		active = append(active, string(whole.ForStage(batch.StageReduce))) // it runs again when the batch ends
	} else if err != nil && !(whole != id && errors.Is(err, ErrNotFound)) {
		return queued, err
	}
	if err := s.cmd.SAdd(ctx, keyActive, active...).Err(); err != nil {
		return queued, classify(op, err)
	}
	return queued, nil
}

// Remove deletes a batch that is done, with all its keys. ErrConflict: it is not done. Repeatable.
func (s *Store) Remove(ctx context.Context, id batch.ID) error {
	op := "remove batch " + string(id)
	phase, err := s.Phase(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	notFound := err
	if err == nil && phase != batch.Done {
		return fmt.Errorf("%s: %w: it is %s; cancel it first", op, ErrConflict, phase)
	}
	failed, err := s.cmd.HKeys(ctx, keyFailed(id)).Result()
	if err != nil {
		return classify(op, err)
	}
	for chunk := range slices.Chunk(failed, maxVariadic) {
		journals := make([]string, 0, 2*len(chunk))
		for _, index := range chunk {
			journals = append(journals, prefixJournal(id)+index, prefixJournal(id)+index+":fx")
		}
		if err := s.cmd.Unlink(ctx, journals...).Err(); err != nil {
			return classify(op, err)
		}
	}
	v, err := s.call(ctx, op, s.scripts.remove, id, named{})
	if err != nil {
		return err
	}
	if p := batch.Phase(reply{v}.str()); p != "" && p != batch.Done {
		return fmt.Errorf("%s: %w: it is %s; cancel it first", op, ErrConflict, p)
	}
	if err := s.forget(ctx, id); err != nil {
		return err
	}
	return notFound
}
