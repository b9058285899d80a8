package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/batchagent/batchagent/pkg/modeljson"
	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/toolpool/schema"
)

const (
	maxValues = 1000 // values of one answer that are checked
	maxWasted = 2    // bytes read in vain, per byte of the answer
	// Limits of bytes and values that are read in vain. They bound the time for an answer of any length.
	maxWastedBytes = 2 << 20
	maxTries       = 250_000
	maxQuoted      = 160 // bytes of a value in a message
	lookEvery      = 256 // offsets between two checks of the context
)

// extraction finds the JSON value of an answer. It takes a value only if the answer is unambiguous:
//
//   - An answer that is one value is that value.
//   - Otherwise every outermost object and array counts, in prose as in fences, and a scalar that fills a fence. All values that
//     match the schema must be equal.
//   - Malformed or cut text that looks like a value may be the answer, so nothing else is taken in its place.
//   - A value with a check that ended at a limit may match, so nothing else is taken in its place.
//   - Thinking is no answer: a block of it is skipped, and a closing tag alone drops everything in front of it.
type extraction struct {
	ctx    context.Context
	check  func(ctx context.Context, doc any) error // nil if a value matches the schema
	tries  int                                      // values that were read in vain
	lists  bool                                     // the schema may accept an array
	wasted int                                      // bytes that may still be read in vain
	values int                                      // values that may still be checked
	found  []byte                                   // the value that matches; nil if none did yet
	same   string                                   // canonical form of found
	begins bool                                     // found begins the text, and only closing brackets follow
	other  error                                    // why the first value does not match
}

// extractJSON returns the answer's value, compacted but otherwise as the model wrote it. The error describes the fault
// for the model. If ctx ended first, the error is its cause.
func extractJSON(ctx context.Context, text string, lists bool, check func(ctx context.Context, doc any) error) (json.RawMessage, error) {
	x := &extraction{ctx: ctx, check: check, lists: lists, wasted: min(maxWasted*len(text), maxWastedBytes) + maxMessage, values: maxValues}
	if v, whole := x.whole(text); whole {
		return v.JSON, check(ctx, v.Doc)
	}
	answer, err := withoutThinking(text)
	if err != nil {
		return nil, err
	}
	for {
		if v, whole := x.whole(answer); whole {
			return v.JSON, check(ctx, v.Doc)
		}
		rest, closed, err := x.scan(answer)
		if !closed {
			return x.found, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if answer = trimStart(rest); answer == "" {
			return nil, errAfterThinking
		}
	}
}

// whole returns the value if the text consists of one.
func (x *extraction) whole(text string) (modeljson.Value, bool) {
	v, err := x.read(text, 0)
	return v, err == nil && blank(text[v.End:])
}

func (x *extraction) read(text string, at int) (modeljson.Value, *modeljson.Error) {
	v, err := modeljson.Read(text, at)
	if err != nil {
		x.tries++
		x.wasted -= err.Offset - at
	}
	return v, err
}

// scan searches a text that is not one value. closed reports that a closing tag of thinking ended the scan. The text
// before the tag was thinking, and rest is the text after it.
func (x *extraction) scan(text string) (rest string, closed bool, err error) {
	x.found, x.other, x.begins = nil, nil, false
	depth := 0 // of braces in prose
	start := len(text) - len(trimStart(text))
	for i := start; i < len(text); {
		c := text[i]
		if b, closes, size := tagAt(text[i:]); size > 0 {
			if closes {
				return text[i+size:], true, nil
			}
			after, found := afterTag(text[i+size:], b.close)
			if !found {
				return x.refuse("", errThinking)
			}
			i = len(text) - len(after)
			continue
		}
		var problem error
		switch {
		case c == '{' && i+1 < len(text) && strings.IndexByte("{[<>()=.,;:|~`+*&^%@!?]", text[i+1]) >= 0: // no key
			depth++
			i++
		case c == '{' || c == '[':
			v, err := x.read(text, i)
			switch {
			case err == nil:
				problem = x.take(v, i == start && strings.Trim(text[v.End:], "}] \t\r\n") == "")
				i = v.End
			case err.Cut || x.meant(text[i:]):
				problem = err
				if i == start {
					return x.refuse("", problem) // a tag inside it is part of a value
				}
				i++
			default:
				depth++
				i++
			}
		case c == '}' || c == ']':
			lost := depth == 0 && c == '}' && x.found != nil && !x.begins
			if lost {
				problem = fmt.Errorf("a bracket closes at byte %d that was not opened", i+1)
			}
			depth = max(0, depth-1)
			i++
		case strings.HasPrefix(text[i:], "```") || strings.HasPrefix(text[i:], "~~~"):
			i, problem = x.fence(text, i)
		case strings.HasPrefix(text[i:], harmonyChannel) || strings.HasPrefix(text[i:], harmonyStart):
			final, err := harmonyFinal(text[i:])
			if err != nil {
				return x.refuse("", err)
			}
			return final, true, nil
		default:
			i++
		}
		if i%lookEvery == 0 && x.ctx.Err() != nil {
			return "", false, context.Cause(x.ctx)
		}
		if problem == nil && (x.wasted < 0 || x.tries > maxTries) {
			problem = errors.New("it has too many brackets that do not match")
		}
		if problem != nil {
			return x.refuse(text[i:], problem)
		}
	}
	if x.found != nil {
		return "", false, nil
	}
	if x.other == nil {
		x.other = noValue(text)
	}
	return "", false, x.other
}

// refuse ends a scan without a value, unless a closing tag follows and turns the text into thinking.
func (x *extraction) refuse(text string, problem error) (rest string, closed bool, err error) {
	x.found = nil
	if rest, closed = afterClosing(text); closed {
		return rest, true, nil
	}
	return "", false, problem
}

// take checks a value. It returns an error if the value rules out any other value of the answer.
func (x *extraction) take(v modeljson.Value, begins bool) error {
	if x.values--; x.values < 0 {
		return fmt.Errorf("it holds more than %d JSON values", maxValues)
	}
	if err := x.check(x.ctx, v.Doc); err != nil {
		if !schema.IsMismatch(err) {
			return err
		}
		if x.other == nil {
			x.other = err
		}
		return nil
	}
	canonical, err := plainjson.Marshal(v.Doc)
	switch {
	case err != nil:
		return fmt.Errorf("compare values: %w", err)
	case x.found == nil:
		x.found, x.same, x.begins = v.JSON, string(canonical), begins
	case x.same != string(canonical):
		return fmt.Errorf("it holds two different JSON values that match the schema: %s and %s", clip(string(x.found), maxQuoted), clip(string(v.JSON), maxQuoted))
	}
	return nil
}

// meant reports whether text looks like an attempt at a value. It begins with a bracket and is not valid JSON.
func (x *extraction) meant(text string) bool {
	inner := strings.TrimLeftFunc(text[1:], unicode.IsSpace)
	if inner == "" {
		return true
	}
	if strings.HasPrefix(inner, `\"`) || strings.ContainsRune("\"'“‘", []rune(inner[:min(len(inner), 4)])[0]) {
		return true
	}
	if text[0] == '[' {
		return inner[0] == '{' || x.lists && strings.IndexByte("[-0123456789", inner[0]) >= 0
	}
	name := strings.TrimLeftFunc(inner, func(c rune) bool {
		return c == '_' || c == '$' || c == '-' || unicode.IsLetter(c) || unicode.IsDigit(c)
	})
	return len(name) < len(inner) && strings.HasPrefix(strings.TrimLeftFunc(name, unicode.IsSpace), ":")
}

// fence takes the scalar that fills the fence at an offset. Objects and arrays in fences are found as in prose. It
// returns the offset to continue at.
func (x *extraction) fence(text string, at int) (next int, problem error) {
	body := strings.TrimLeft(text[at:], text[at:at+1])
	ticks := text[at : len(text)-len(body)]
	next = at + len(ticks)
	word := strings.TrimLeftFunc(body, func(c rune) bool { return strings.ContainsRune("_-+.", c) || unicode.IsLetter(c) || unicode.IsDigit(c) })
	for _, from := range []string{body, word} { // the word behind a fence may name its language
		inner := strings.TrimLeftFunc(from, unicode.IsSpace)
		if inner == "" || inner[0] == '{' || inner[0] == '[' {
			continue
		}
		begin := len(text) - len(inner)
		v, err := x.read(text, begin)
		if err != nil {
			continue
		}
		if after := strings.TrimLeftFunc(text[v.End:], unicode.IsSpace); strings.HasPrefix(after, ticks) {
			return len(text) - len(after) + len(ticks), x.take(v, false)
		}
		x.wasted -= v.End - begin
	}
	return next, nil
}

// noValue returns the error for a text without a usable value.
func noValue(text string) error {
	text = strings.TrimSpace(text)
	if strings.ContainsFunc(text, unicode.IsSpace) && !strings.ContainsRune("\"'-.0123456789", rune(text[0])) {
		return errors.New("it holds no JSON")
	}
	v, err := modeljson.Read(text, 0)
	if err == nil {
		return fmt.Errorf("not valid JSON: more text after the value, at byte %d", v.End+1)
	}
	return err
}

func blank(text string) bool { return strings.Trim(text, " \t\r\n\ufeff") == "" }
