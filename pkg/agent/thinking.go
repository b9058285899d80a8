package agent

import (
	"errors"
	"regexp"
	"strings"
	"unicode"
)

// A server without a reasoning parser leaves the thinking of a model in its text. The thinking comes before the answer,
// in a block with the tags of the model. Many chat templates put the opening tag into the prompt (DeepSeek-R1, QwQ,
// Qwen3). Then the answer has only the closing tag.

var (
	errThinking      = errors.New("it ends inside its thinking and holds no answer")
	errAfterThinking = errors.New("it is empty after its thinking")
)

// block is a pair of tags that enclose thinking.
type block struct{ open, close string }

var blocks = []block{
	{"<think>", "</think>"},
	{"<thinking>", "</thinking>"},
	{"<thought>", "</thought>"},
	{"[THINK]", "[/THINK]"},
	{"<seed:think>", "</seed:think>"},
	{"<|START_THINKING|>", "<|END_THINKING|>"},
	{"<|begin_of_thought|>", "<|end_of_thought|>"},
	{"◁think▷", "◁/think▷"},
}

// tagAt returns the block of the tag at the beginning of text, and the size of that tag. Without a tag the size is 0.
func tagAt(text string) (b block, closes bool, size int) {
	if text == "" || text[0] != '<' && text[0] != '[' && text[0] != "◁"[0] {
		return block{}, false, 0
	}
	for _, b := range blocks {
		if hasTag(text, b.open) {
			return b, false, len(b.open)
		}
		if hasTag(text, b.close) {
			return b, true, len(b.close)
		}
	}
	return block{}, false, 0
}

func hasTag(text, tag string) bool {
	last := len(tag) - 1
	return len(text) > last && text[0] == tag[0] && text[last] == tag[last] && strings.EqualFold(text[:len(tag)], tag)
}

// afterTag returns the text after the first such tag.
func afterTag(text, tag string) (after string, found bool) {
	for i := range len(text) {
		if text[i] == tag[0] && hasTag(text[i:], tag) {
			return text[i+len(tag):], true
		}
	}
	return "", false
}

// afterClosing returns the text after the first closing tag of any block.
func afterClosing(text string) (after string, found bool) {
	for i := range len(text) {
		if _, closes, size := tagAt(text[i:]); closes {
			return text[i+size:], true
		}
	}
	return "", false
}

// withoutThinking drops the blocks of thinking that text begins with. A text without any is returned unchanged. A block
// without an end is an error, because a draft follows it. A text that ends after its blocks is an error, too.
func withoutThinking(text string) (string, error) {
	thought := false
	for {
		start := trimStart(text)
		b, closes, size := tagAt(start)
		switch {
		case isHarmony(start):
			final, err := harmonyFinal(start)
			if err == nil && trimStart(final) == "" {
				err = errAfterThinking
			}
			return final, err
		case size > 0 && !closes:
			after, found := afterTag(start[size:], b.close)
			if !found {
				return "", errThinking
			}
			text, thought = after, true
			continue
		case thought && start == "":
			return "", errAfterThinking
		case thought:
			return start, nil
		}
		return text, nil
	}
}

// plainText returns the answer of a model in a batch without a schema. It drops leading blocks, and thinking that the
// prompt opened: the closing tag is then alone on its line, or at the very beginning. A tag inside a sentence, a code
// block or a quoted block is part of the answer.
func plainText(text string) (string, error) {
	rest, err := withoutThinking(text)
	if err != nil || len(rest) != len(text) {
		return rest, err
	}
	if after, found := afterOpenedThinking(text); found {
		if rest = trimStart(after); rest == "" {
			return "", errAfterThinking
		}
	}
	return rest, nil
}

// afterOpenedThinking returns the text after thinking that the prompt opened.
func afterOpenedThinking(text string) (after string, found bool) {
	if _, closes, size := tagAt(trimStart(text)); closes {
		return trimStart(text)[size:], true
	}
	fenced := false
	for rest := text; rest != ""; {
		line, next, _ := strings.Cut(rest, "\n")
		trimmed := strings.TrimSpace(line)
		if _, closes, size := tagAt(trimmed); closes && size == len(trimmed) && !fenced {
			return next, true
		}
		if strings.HasPrefix(trimmed, "```") || strings.HasPrefix(trimmed, "~~~") {
			fenced = !fenced
		}
		for i := range len(line) {
			if _, closes, size := tagAt(line[i:]); size > 0 && !closes {
				return "", false
			}
		}
		rest = next
	}
	return "", false
}

// Harmony is the format of gpt-oss: messages in channels, and the channel "final" has the answer.
const (
	harmonyChannel = "<|channel|>"
	harmonyMessage = "<|message|>"
	harmonyStart   = "<|start|>"
	// A server that drops special tokens joins the names of the channels and the messages.
	bareFinal = "assistantfinal"

	maxHarmonyHead = 200 // bytes of the name of a channel and its attributes
)

var (
	harmonyEnd   = regexp.MustCompile(`<\|(?:end|return|call|start|channel)\|>`)
	bareAnalysis = regexp.MustCompile(`^analysis(?:\p{Lu}|<\|message\|>)`)
)

func isHarmony(text string) bool {
	return strings.HasPrefix(text, harmonyChannel) || strings.HasPrefix(text, harmonyStart) || bareAnalysis.MatchString(text)
}

// harmonyFinal returns the one message in the channel "final".
func harmonyFinal(text string) (string, error) {
	if bareAnalysis.MatchString(text) && !strings.Contains(text, harmonyChannel) {
		if _, final, found := strings.Cut(text, bareFinal); found {
			return final, nil
		}
		return "", errThinking
	}
	final, found := "", false
	for {
		_, rest, more := strings.Cut(text, harmonyChannel)
		if !more {
			break
		}
		head, _, started := strings.Cut(rest[:min(len(rest), maxHarmonyHead)], harmonyMessage)
		if name := strings.FieldsFunc(head, func(c rune) bool { return unicode.IsSpace(c) || c == '<' }); !started || len(name) == 0 || name[0] != "final" {
			text = rest
			continue
		}
		if found {
			return "", errors.New("it holds more than one final message")
		}
		body := rest[len(head)+len(harmonyMessage):]
		final, text, found = body, "", true
		if end := harmonyEnd.FindStringIndex(body); end != nil {
			final, text = body[:end[0]], body[end[0]:]
		}
	}
	if !found {
		return "", errThinking
	}
	return final, nil
}

// trimStart drops white space and a byte order mark.
func trimStart(text string) string {
	return strings.TrimLeft(text, " \t\r\n\ufeff")
}
