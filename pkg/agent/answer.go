package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool/schema"
)

// maxMessage bounds an error's message.
const maxMessage = 1 << 10

// noAnswer replaces an empty answer, because servers drop or refuse an empty assistant message.
const noAnswer = "(no answer)"

// repairTurn journals an answer that is not valid with the message that asks for a valid one.
func (a *attempt) repairTurn(s *scope, t turnPlan, resp *backend.Response, problem error, usage batch.Usage) error {
	content := resp.Message.Content
	if strings.TrimSpace(content) == "" {
		content = noAnswer
	}
	return a.checkpoint(s, t, Turn{
		Assistant: backend.Message{Role: backend.RoleAssistant, Content: content, Reasoning: resp.Message.Reasoning},
		Repair:    a.prog.repairMessage(problem),
		Usage:     usage,
		Model:     resp.Model,
	})
}

func (p *Program) repairMessage(problem error) string {
	says := problem.Error()
	if e, ok := errors.AsType[*batch.Error](problem); ok {
		says = e.Message
	}
	text := fmt.Sprintf("Your last answer cannot be used: %s.", clip(says, maxMessage))
	if p.output == nil {
		return text + " Answer the task now."
	}
	return text + " Answer again with only the corrected JSON, and with nothing else."
}

// answer is the job's output from the model's final text. An error that is no *[batch.Error] says what does not match the schema.
func (p *Program) answer(content string) (json.RawMessage, error) {
	output, err := p.readAnswer(content)
	if err != nil || p.items == nil {
		return output, err
	}
	_, err = p.items(output)
	return output, err
}

// readAnswer turns the model's final text into the job's output. The error tells the model what to change.
//
// The output is the JSON that the model wrote, compacted: key order and long numbers stay as they are.
func (p *Program) readAnswer(content string) (json.RawMessage, error) {
	text := afterThinking(strings.ToValidUTF8(content, "\uFFFD"))
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("it is empty")
	}
	if p.output == nil {
		return encode(struct {
			Text string `json:"text"`
		}{text})
	}
	candidates := jsonCandidates(text)
	var problem error
	note := func(err error) {
		if problem == nil {
			problem = err
		}
	}
	for _, c := range candidates {
		doc, err := schema.Decode([]byte(c))
		if err != nil {
			continue
		}
		if err := p.output.CheckValue(doc); err != nil {
			note(err)
			continue
		}
		return compact(c)
	}
	for _, c := range candidates {
		fixed, ok := "", false
		if !json.Valid([]byte(c)) {
			fixed, ok = repairJSON(c)
		}
		if !ok {
			continue
		}
		if err := p.output.Check([]byte(fixed)); err != nil {
			note(err)
			continue
		}
		return compact(fixed)
	}
	if problem == nil {
		_, problem = schema.Decode([]byte(strings.TrimSpace(text)))
	}
	if problem == nil {
		problem = errors.New("it holds no JSON")
	}
	return nil, problem
}

func invalid(problem error, raw string) error {
	if e, ok := errors.AsType[*batch.Error](problem); ok {
		return withRaw(e.Type, e.Message+"; it was so also after one repair", raw)
	}
	message := "the answer does not match the output schema, also after one repair: " + problem.Error()
	return withRaw(batch.OutputInvalid, message, raw)
}

// truncated is the failure of a turn that was cut. A model that was cut while it still reasoned has no content; what
// it was thinking is then the only trace.
func truncated(resp *backend.Response, p *Program) error {
	raw := resp.Message.Content
	if raw == "" {
		raw = resp.Message.ReasoningText()
	}
	cause := "the model's context is full"
	if p.sampling.MaxTokens > 0 {
		cause = fmt.Sprintf("sampling.max_tokens = %d, or the model's context is full", p.sampling.MaxTokens)
	}
	return withRaw(batch.OutputTruncated, fmt.Sprintf("the answer was cut after %d tokens: %s", resp.Usage.CompletionTokens, cause), raw)
}

func withRaw(t batch.ErrorType, message, raw string) error {
	e := batch.NewError(t, clip(message, maxMessage))
	e.Raw = clip(raw, maxRaw)
	return e
}

func compact(text string) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		return nil, fmt.Errorf("compact answer: %w", err)
	}
	return b.Bytes(), nil
}

// encode writes JSON without escaping <, > and &.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// clip shortens text to at most limit bytes, at a character, with an ellipsis that counts.
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
