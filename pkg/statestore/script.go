package statestore

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/batch"
)

//go:embed lua/*.lua lua/part/*.lua
var luaFiles embed.FS

// scripts are the Lua scripts, each with its parts in front.
type scripts struct {
	book, announced, create, feed, seal, claim, held, renew, checkpoint, release, finish, cancel, retry, remove,
	intend, note, resolve, budget, spend, volunteer, touch, at, bind script
}

type script struct{ hash, text string }

func loadScripts(change func(name, text string) string) (scripts, error) {
	var s scripts
	for name, dst := range map[string]*script{
		"book": &s.book, "announced": &s.announced, "create": &s.create, "feed": &s.feed, "seal": &s.seal,
		"claim": &s.claim, "held": &s.held, "renew": &s.renew, "checkpoint": &s.checkpoint, "release": &s.release,
		"finish": &s.finish, "cancel": &s.cancel, "retry": &s.retry, "remove": &s.remove,
		"intend": &s.intend, "note": &s.note, "resolve": &s.resolve, "budget": &s.budget, "spend": &s.spend, "volunteer": &s.volunteer,
		"touch": &s.touch, "at": &s.at, "bind": &s.bind,
	} {
		text, err := assemble("lua/"+name+".lua", map[string]bool{})
		if err != nil {
			return s, err
		}
		if change != nil {
			text = change(name, text)
		}
		*dst = script{hash: redis.NewScript(text).Hash(), text: text}
	}
	return s, nil
}

// assemble returns the text of a file with its parts in front. Its line "-- Parts: a, b" names files of lua/part, in the order of their
// execution. A part may have parts itself. present holds the parts that the text has already.
func assemble(file string, present map[string]bool) (string, error) {
	own, err := luaFiles.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the embedded script %s: %w", file, err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(own)) {
		names, ok := strings.CutPrefix(line, "-- Parts: ")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(strings.TrimSpace(names), ", ") {
			if present[name] {
				continue
			}
			present[name] = true
			part, err := assemble("lua/part/"+name+".lua", present)
			if err != nil {
				return "", err
			}
			out.WriteString(part)
		}
	}
	out.Write(own)
	return out.String(), nil
}

// named are the arguments of a script by name. A script that gets many has a struct instead.
type named map[string]any

// call runs a script on a batch. args become the script's named arguments. data are bytes that the script does not interpret. It returns
// classified errors.
func (s *Store) call(ctx context.Context, op string, sc script, id batch.ID, args any, data ...[]byte) (any, error) {
	return s.callOn(ctx, s.cmd, op, sc, allKeys(id), args, data...)
}

// processor is a client, or one connection.
type processor interface {
	Process(ctx context.Context, cmd redis.Cmder) error
}

// callOn calls a script by its hash. It sends the script's text if the server does not have it: NOSCRIPT means that nothing was executed.
func (s *Store) callOn(ctx context.Context, p processor, op string, sc script, keys []string, args any, data ...[]byte) (any, error) {
	encoded, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("%s: encode the arguments: %w", op, err)
	}
	v, err := eval(ctx, p, "evalsha", sc.hash, keys, encoded, data)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		v, err = eval(ctx, p, "eval", sc.text, keys, encoded, data)
	}
	if err != nil {
		return nil, classify(op, err)
	}
	return v, nil
}

func eval(ctx context.Context, p processor, name, script string, keys []string, args []byte, data [][]byte) (any, error) {
	all := make([]any, 0, 4+len(keys)+len(data))
	all = append(all, name, script, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	all = append(all, args)
	for _, d := range data {
		all = append(all, d)
	}
	cmd := once{redis.NewCmd(ctx, all...)}
	cmd.SetFirstKeyPos(3) // a cluster client finds the node by this key
	_ = p.Process(ctx, cmd)
	return cmd.Result()
}

// once is a command that the client must not send twice. A cluster client ignores MaxRetries and repeats a command without a
// reply. A claim repeated that way leases jobs to a worker that does not know it.
type once struct{ *redis.Cmd }

// NoRetry replaces the client's default.
func (once) NoRetry() bool { return true }

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
