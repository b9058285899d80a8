package statestore

import (
	"context"
	"embed"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// scripts are the Lua scripts, each with the prelude in front.
type scripts struct {
	book, announced, create, feed, seal, claim, held, renew, checkpoint, release, finish, cancel, retry, remove,
	intend, note, resolve, budget, spend, volunteer, touch, at, bind script
}

type script struct{ hash, text string }

// once is a command that the client must not send twice. A cluster client ignores MaxRetries and repeats a command without a
// reply. A claim repeated that way leases jobs to a worker that does not know it.
type once struct{ *redis.Cmd }

// NoRetry replaces the client's default.
func (once) NoRetry() bool { return true }

func loadScripts(change func(name, text string) string) (scripts, error) {
	var s scripts
	prelude, err := luaFiles.ReadFile("lua/prelude.lua")
	if err != nil {
		return s, fmt.Errorf("read the embedded prelude: %w", err)
	}
	for name, dst := range map[string]*script{
		"book": &s.book, "announced": &s.announced, "create": &s.create, "feed": &s.feed, "seal": &s.seal,
		"claim": &s.claim, "held": &s.held, "renew": &s.renew, "checkpoint": &s.checkpoint, "release": &s.release,
		"finish": &s.finish, "cancel": &s.cancel, "retry": &s.retry, "remove": &s.remove,
		"intend": &s.intend, "note": &s.note, "resolve": &s.resolve, "budget": &s.budget, "spend": &s.spend, "volunteer": &s.volunteer,
		"touch": &s.touch, "at": &s.at, "bind": &s.bind,
	} {
		body, err := luaFiles.ReadFile("lua/" + name + ".lua")
		if err != nil {
			return s, fmt.Errorf("read the embedded script %s: %w", name, err)
		}
		text := string(prelude) + string(body)
		if change != nil {
			text = change(name, text)
		}
		*dst = script{hash: redis.NewScript(text).Hash(), text: text}
	}
	return s, nil
}

// run calls a script by its hash. It sends the script's text if the server does not have it: NOSCRIPT means that nothing was
// executed. It returns classified errors.
func (s *Store) run(ctx context.Context, op string, sc script, keys []string, args ...any) (any, error) {
	return s.runOn(ctx, s.cmd, op, sc, keys, args...)
}

// processor is a client, or one connection.
type processor interface {
	Process(ctx context.Context, cmd redis.Cmder) error
}

func (s *Store) runOn(ctx context.Context, p processor, op string, sc script, keys []string, args ...any) (any, error) {
	v, err := eval(ctx, p, "evalsha", sc.hash, keys, args)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		v, err = eval(ctx, p, "eval", sc.text, keys, args)
	}
	if err != nil {
		return nil, classify(op, err)
	}
	return v, nil
}

func eval(ctx context.Context, p processor, name, script string, keys []string, args []any) (any, error) {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, name, script, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	cmd := once{redis.NewCmd(ctx, append(all, args...)...)}
	cmd.SetFirstKeyPos(3) // a cluster client finds the node by this key
	_ = p.Process(ctx, cmd)
	return cmd.Result()
}

// reply reads the result of a script: nested arrays of strings and integers.
type reply struct{ v any }

func (r reply) list() []any {
	l, _ := r.v.([]any)
	return l
}

func (r reply) at(i int) reply {
	if l := r.list(); i < len(l) {
		return reply{l[i]}
	}
	return reply{}
}

func (r reply) str() string {
	s, _ := r.v.(string)
	return s
}

// num reads an integer that the script returned as a number, or as a string from a hash.
func (r reply) num() int64 {
	switch v := r.v.(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}
