package vllmsim

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/batchagent/batchagent/pkg/vllmsim/internal/sample"
)

const cachedToolsets = 256

// tool is one declared tool.
type tool struct {
	name   string
	params *sample.Schema // nil for a tool without arguments
	needs  []string       // required parameters of type free text
}

type toolset struct{ list []tool }

// toolCache parses the tools of a request once per distinct text. It is safe for concurrent use.
type toolCache struct {
	seed maphash.Seed
	sets *lru.Cache[uint64, *toolset]
}

func newToolCache() (*toolCache, error) {
	sets, err := lru.New[uint64, *toolset](cachedToolsets)
	if err != nil {
		return nil, fmt.Errorf("tool cache: %w", err)
	}
	return &toolCache{seed: maphash.MakeSeed(), sets: sets}, nil
}

// tools parses the tools field of a request.
func (s *Server) tools(raw []byte) (*toolset, *apiError) {
	key := maphash.Bytes(s.toolsets.seed, raw)
	if set, ok := s.toolsets.sets.Get(key); ok {
		return set, nil
	}
	var declared []struct {
		Function *struct {
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parameters"`
		} `json:"function"`
	}
	if json.Unmarshal(raw, &declared) != nil {
		return nil, badBody("body.tools", "1 validation error:\n  {'type': 'list_type', 'loc': 'body.tools', 'msg': 'Input should be a valid list'}")
	}
	if len(declared) == 0 {
		return nil, badParam("tools", "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.")
	}
	set := &toolset{}
	for i, d := range declared {
		if d.Function == nil || d.Function.Name == "" {
			loc := fmt.Sprintf("body.tools.%d.function", i)
			return nil, badBody(loc, "1 validation error:\n  {'type': 'missing', 'loc': '"+loc+"', 'msg': 'Field required'}")
		}
		t := tool{name: d.Function.Name}
		if present(d.Function.Parameters) {
			// The real server ignores the schema of a tool that is not strict.
			if params, err := s.schemas.compile(d.Function.Parameters); err == nil {
				t.params = params
				for _, p := range params.Params() {
					if p.Required && p.Text {
						t.needs = append(t.needs, p.Name)
					}
				}
			}
		}
		set.list = append(set.list, t)
	}
	s.toolsets.sets.Add(key, set)
	return set, nil
}

// choose returns the tool to call. It must be able to fill its required texts from the user's words. If several can, they take
// turns.
func (t *toolset) choose(h *hints) *tool {
	var fit []int
	for i, candidate := range t.list {
		filled := true
		for _, name := range candidate.needs {
			_, ok := h.argument(name)
			filled = filled && ok
		}
		if filled {
			fit = append(fit, i)
		}
	}
	if len(fit) > 0 {
		return &t.list[fit[h.nth%len(fit)]]
	}
	return &t.list[h.nth%len(t.list)]
}

// arguments writes a call's arguments: all required ones, and the optional ones that the user's words mention.
func (t *tool) arguments(h *hints, seed uint64) string {
	if t.params == nil {
		return "{}"
	}
	return string(t.params.Append(nil, sample.Source{
		Seed: seed, Sparse: true, Words: firstWords(h.text, maxWords),
		Text: func(name string) (string, bool) {
			if meaningOf(name) == meansOther && !slices.Contains(t.needs, name) {
				return "", false
			}
			return h.argument(name)
		},
	}))
}
