package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	"github.com/kaptinlin/jsonrepair"

	"github.com/batchagent/batchagent/pkg/toolpool/schema"
)

// maxRaw bounds the model's text that a result carries.
const maxRaw = 16 << 10

var errNoJSON = errors.New("the answer holds no JSON")

var fence = regexp.MustCompile("(?s)```[a-zA-Z0-9_-]*\n?(.*?)```")

// extract finds the JSON value that matches the schema in a model's answer: the whole text, a code fence, or the first
// value in prose; as written if possible, else repaired. Key order and digits stay as the model wrote them. The error
// says, in the validator's words, what is wrong with the likeliest value.
func extract(text string, want *schema.Schema) (json.RawMessage, error) {
	out, strictErr := extractStrict(text, want)
	if strictErr == nil {
		return out, nil
	}
	var first error
	for _, c := range candidates(answerPart(text)) {
		repaired, err := jsonrepair.Repair(c)
		if err != nil {
			continue
		}
		v, err := validate([]byte(repaired), want)
		if err == nil {
			return v, nil
		}
		if first == nil {
			first = err
		}
	}
	if errors.Is(strictErr, errNoJSON) && first != nil {
		return nil, first
	}
	return nil, strictErr
}

// extractStrict is extract without repair.
func extractStrict(text string, want *schema.Schema) (json.RawMessage, error) {
	text = answerPart(text)
	first := errNoJSON
	for _, c := range append(candidates(text), values(text)...) {
		if !json.Valid([]byte(c)) {
			continue
		}
		v, err := validate([]byte(c), want)
		if err == nil {
			return v, nil
		}
		if errors.Is(first, errNoJSON) {
			first = err
		}
	}
	return nil, first
}

// answerPart is what follows the model's thoughts.
func answerPart(text string) string {
	if i := strings.LastIndex(text, "</think>"); i >= 0 {
		text = text[i+len("</think>"):]
	}
	return strings.TrimSpace(text)
}

// candidates are the texts that are meant as JSON: the whole, what stands in fences, what stands between the first
// opening and the last closing bracket.
func candidates(text string) []string {
	if text == "" {
		return nil
	}
	var out []string
	for _, m := range fence.FindAllStringSubmatch(text, 8) {
		out = append(out, strings.TrimSpace(m[1]))
	}
	if i := strings.IndexAny(text, "{["); i == 0 {
		out = append([]string{text}, out...)
	} else if i > 0 {
		end := strings.LastIndexAny(text, "}]")
		if end < i {
			end = len(text) - 1
		}
		out = append(out, text[i:end+1])
	} else {
		out = append(out, text) // a bare string, number or word
	}
	return out
}

// values are the complete JSON objects and arrays that begin somewhere in the text, at most 32.
func values(text string) []string {
	var out []string
	for tries := 0; tries < 256 && len(out) < 32; tries++ {
		i := strings.IndexAny(text, "{[")
		if i < 0 {
			break
		}
		text = text[i:]
		var v json.RawMessage
		d := json.NewDecoder(strings.NewReader(text))
		if d.Decode(&v) == nil {
			out = append(out, string(v))
			text = text[d.InputOffset():]
			continue
		}
		text = text[1:]
	}
	return out
}

func validate(text []byte, want *schema.Schema) (json.RawMessage, error) {
	if err := want.Check(text); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// cut bounds a text for a result.
func cut(s string) string {
	if len(s) <= maxRaw {
		return s
	}
	return strings.ToValidUTF8(s[:maxRaw], "")
}
