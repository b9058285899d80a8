package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/plainjson"
)

// maxMessage limits an error's message, in bytes.
const maxMessage = 1 << 10

// noAnswer replaces an empty answer, because servers drop or refuse an empty assistant message.
const noAnswer = "(no answer)"

// repairTurn journals an invalid answer together with the message that requests a valid one.
func (a *attempt) repairTurn(s *scope, t nextTurn, resp *backend.Response, problem error, usage batch.Usage) error {
	content := resp.Message.Content
	if strings.TrimSpace(content) == "" {
		content = noAnswer
	}
	return a.checkpoint(s, t, Turn{
		Assistant: backend.Message{Role: backend.RoleAssistant, Content: content, Reasoning: resp.Message.Reasoning},
		Repair:    a.def.repairMessage(problem),
		Usage:     usage,
		Model:     resp.Model,
	})
}

func (d *Definition) repairMessage(problem error) string {
	message := problem.Error()
	if e, ok := errors.AsType[*batch.Error](problem); ok {
		message = e.Message
	}
	text := fmt.Sprintf("Your last answer cannot be used: %s.", clip(message, maxMessage))
	if d.output == nil {
		return text + " Answer the task now."
	}
	return text + " Answer again with only the corrected JSON, and with nothing else."
}

// answer returns the job's output from the model's final text. An error that is no *[batch.Error] describes the fault
// for the model. If ctx ended first, the error is its cause.
func (d *Definition) answer(ctx context.Context, content string) (json.RawMessage, error) {
	output, err := d.readAnswer(ctx, content)
	if err != nil {
		return nil, err
	}
	if d.items != nil {
		if _, err := d.items(output); err != nil {
			return nil, err
		}
	}
	return output, d.passes(output)
}

// passes returns the error of the first check that rejects an output.
func (d *Definition) passes(output json.RawMessage) error {
	for _, check := range d.checks {
		if err := check(output); err != nil {
			return err
		}
	}
	return nil
}

// readAnswer parses the model's final text into the job's output. The error describes for the model what to change.
func (d *Definition) readAnswer(ctx context.Context, content string) (json.RawMessage, error) {
	if blank(content) {
		return nil, errors.New("it is empty")
	}
	if d.output != nil {
		return extractJSON(ctx, content, d.lists, d.output.CheckWithin)
	}
	if !utf8.ValidString(content) {
		return nil, errors.New("it is not valid UTF-8")
	}
	text, err := plainText(content)
	if err != nil {
		return nil, err
	}
	return plainjson.Marshal(struct {
		Text string `json:"text"`
	}{text})
}

func invalid(problem error, raw string) error {
	if e, ok := errors.AsType[*batch.Error](problem); ok {
		return withRaw(e.Type, e.Message+"; the repair turn had the same fault", raw)
	}
	message := "the answer cannot be used, also after the repair turn: " + problem.Error()
	return withRaw(batch.OutputInvalid, message, raw)
}

// truncated returns the error of a turn that was cut. If the model was cut while it still reasoned, it has no content,
// so the error holds its reasoning.
func truncated(resp *backend.Response, d *Definition) error {
	raw := resp.Message.Content
	if raw == "" {
		raw = resp.Message.ReasoningText()
	}
	return withRaw(batch.OutputTruncated, fmt.Sprintf("the answer was cut after %d tokens: %s", resp.Usage.CompletionTokens, d.cutBy(resp.Usage)), raw)
}

// nearFull is how many tokens of the context a server may leave unused when it cuts an answer.
const nearFull = 64

// cutBy returns the limit that cut an answer, if the usage shows one.
func (d *Definition) cutBy(u backend.Usage) string {
	limit, whole := int64(d.sampling.MaxTokens), u.PromptTokens+u.CompletionTokens
	switch {
	case limit > 0 && u.CompletionTokens >= limit:
		return fmt.Sprintf("sampling.max_tokens = %d was reached; raise it", limit)
	case d.window > 0 && whole >= int64(d.window)-nearFull:
		return fmt.Sprintf("%d of the %d tokens of the model's context are used; shorten the input, or use a model with a longer context", whole, d.window)
	default:
		return "the server cut it with the finish reason length; look for a limit of the server, or set sampling.max_tokens"
	}
}

func withRaw(t batch.ErrorType, message, raw string) error {
	e := batch.NewError(t, clip(message, maxMessage))
	e.Raw = clip(raw, maxRaw)
	return e
}

// clip shortens text to at most limit bytes, at a character. The limit includes the ellipsis.
func clip(text string, limit int) string {
	const ellipsis = "…"
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	end := limit - len(ellipsis)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}
