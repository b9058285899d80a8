package spec

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rows yields documents x questions rows, with texts of these lengths.
func rows(documents, questions, documentBytes, questionBytes int) []map[string]any {
	var out []map[string]any
	for q := range questions {
		for d := range documents {
			out = append(out, map[string]any{
				"document": fmt.Sprintf("%06d", d) + strings.Repeat("d", documentBytes), "question": fmt.Sprintf("%06d", q) + strings.Repeat("q", questionBytes),
				"id": fmt.Sprint(q*documents + d), "language": "en",
			})
		}
	}
	return out
}

func TestAdviceOnOrderOfPlaceholders(t *testing.T) {
	for name, c := range map[string]struct {
		task string
		rows []map[string]any
		want string // "" for no advice
	}{
		"question before document": {
			"Answer {question}\n\nDocument:\n{document}", rows(100, 8, 2000, 100),
			"{question} comes before {document}; with {document} first, about 83 % of the prompt tokens could be shared instead of 5 %",
		},
		"document before question": {"Document: {document}\nAnswer {question}", rows(100, 8, 2000, 100), ""},
		"unique field first": {
			"Job {id}: {document} {question}", rows(50, 10, 2000, 10),
			"{id} comes before {document}; with {document} first, about 89 % of the prompt tokens could be shared instead of 0 %",
		},
		"unique documents":            {"{question} {document}", rows(400, 1, 2000, 100), ""},
		"short texts":                 {"{question} {document}", rows(20, 20, 5, 5), ""},
		"constant value":              {"{language} {document} {question}", rows(100, 8, 2000, 100), ""},
		"a constant value is skipped": {"{language} {question} {document}", rows(100, 8, 2000, 100), "{question} comes before {document}; with {document} first, about 83 % of the prompt tokens could be shared instead of 5 %"},
		"one placeholder":             {"{document}", rows(100, 8, 2000, 100), ""},
		"placeholder used twice": {
			"{question} {document} {question}", rows(100, 8, 2000, 100),
			"{question} comes before {document}; with {document} first, about 79 % of the prompt tokens could be shared instead of 5 %",
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, adviceFor(t, c.task, c.rows))
		})
	}
}

// adviceFor returns the note about the order of placeholders, or "".
func adviceFor(t *testing.T, task string, rows []map[string]any) string {
	t.Helper()
	p := prepareRows(t, task, rows)
	for _, note := range p.Notes {
		if strings.Contains(note, "could be shared") {
			return note
		}
	}
	return ""
}

func prepareRows(t *testing.T, task string, rows []map[string]any) *Prepared {
	t.Helper()
	data, err := json.Marshal(map[string]any{"task": task, "inputs": rows})
	require.NoError(t, err)
	s, err := parse("batch.json", data, LoadOptions{}, false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	p, err := s.Prepare(t.Context())
	require.NoError(t, err)
	return p
}

// The advice may cost a few microseconds of a submission per input.
func BenchmarkSharing(b *testing.B) {
	for _, n := range []int{2, 6, maxAdvised} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var names []string
			for i := range n {
				names = append(names, fmt.Sprint("f", i))
			}
			s := newSharing(names)
			fields := map[string]any{}
			i := 0
			for b.Loop() {
				i++
				for k, name := range names {
					fields[name] = fmt.Sprint(i / (k + 1))
				}
				if err := s.add(fields); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
