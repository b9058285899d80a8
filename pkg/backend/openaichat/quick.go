package openaichat

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

const (
	// maxQuickBytes limits an event that is decoded quickly, because gjson calls itself for each level of nesting.
	maxQuickBytes = 16 << 10
	// maxQuickMembers limits the members of an object, because each name is compared with those before it.
	maxQuickMembers = 32
)

// quick decodes a chunk of the usual form, in a third of the time that encoding/json takes. It reports false for every other form, and the
// chunk is then undefined. The usual form has no member twice, no name that encoding/json would match in another case, and members
// of the expected types.
func (c *chunk) quick(event []byte) bool {
	if len(event) > maxQuickBytes || !gjson.ValidBytes(event) {
		return false
	}
	return eachMember(gjson.ParseBytes(event), func(name string, v gjson.Result) bool {
		switch name {
		case "model":
			return c.Model.quick(v)
		case "object":
			return c.Object.quick(v)
		case "choices":
			return eachElement(v, (*[]choice)(&c.Choices), (*choice).quick)
		case "usage":
			return quickly(v, &c.Usage, (*usage).quick)
		case "error":
			return absent(v, &c.Error)
		case "x_groq", "choice_index", "tool_call":
			return false
		}
		return true
	})
}

func (c *choice) quick(v gjson.Result) bool {
	return eachMember(v, func(name string, v gjson.Result) bool {
		switch name {
		case "index":
			return v.Type == gjson.Number && c.Index.UnmarshalJSON([]byte(v.Raw)) == nil
		case "delta":
			return quickly(v, &c.Delta, (*delta).quick)
		case "finish_reason":
			return c.FinishReason.quick(v)
		case "message", "text", "usage":
			return v.Type == gjson.Null
		}
		return true
	})
}

func (d *delta) quick(v gjson.Result) bool {
	return eachMember(v, func(name string, v gjson.Result) bool {
		switch name {
		case "content":
			d.Content.text = textOf(v)
			return isText(v)
		case "refusal":
			return d.Refusal.quick(v)
		case "tool_calls":
			return eachElement(v, (*[]callDelta)(&d.ToolCalls), (*callDelta).quick)
		case "reasoning_content":
			return d.ReasoningContent.quick(v)
		case "reasoning":
			return d.Reasoning.quick(v)
		case "reasoning_text":
			return d.ReasoningText.quick(v)
		case "thinking":
			return d.Thinking.quick(v)
		case "function_call":
			return v.Type == gjson.Null
		case "reasoning_details":
			return absent(v, &d.ReasoningDetails)
		case "thinking_blocks":
			return absent(v, &d.ThinkingBlocks)
		case "reasoning_opaque":
			return absent(v, &d.ReasoningOpaque)
		case "extra_content":
			return absent(v, &d.ExtraContent)
		}
		return true
	})
}

func (d *callDelta) quick(v gjson.Result) bool {
	return eachMember(v, func(name string, v gjson.Result) bool {
		switch name {
		case "index":
			d.Index = new(callIndex)
			return v.Type == gjson.Number && d.Index.UnmarshalJSON([]byte(v.Raw)) == nil
		case "id":
			return d.ID.quick(v)
		case "type":
			return true
		case functionMember:
			return eachMember(v, func(name string, v gjson.Result) bool {
				switch name {
				case "name":
					return d.Function.Name.quick(v)
				case "arguments":
					return d.Function.Arguments.quick(v)
				}
				return isEmptyJSON([]byte(v.Raw))
			})
		}
		return isEmptyJSON([]byte(v.Raw)) // others are kept for the next request
	})
}

func (u *usage) quick(v gjson.Result) bool {
	*u = usage{}
	return eachMember(v, func(name string, v gjson.Result) bool {
		switch name {
		case "prompt_tokens":
			return u.PromptTokens.quick(v)
		case "completion_tokens":
			return u.CompletionTokens.quick(v)
		case "total_tokens":
			return u.TotalTokens.quick(v)
		case "prompt_tokens_details":
			if v.Type == gjson.Null {
				return true
			}
			u.PromptDetails = &struct {
				CachedTokens *count `json:"cached_tokens"`
			}{}
			return eachMember(v, func(name string, v gjson.Result) bool {
				return name != "cached_tokens" || quickly(v, &u.PromptDetails.CachedTokens, (*count).quick)
			})
		case "input_tokens", "output_tokens", "completion_tokens_details", "prompt_cache_hit_tokens":
			return v.Type == gjson.Null && name == "completion_tokens_details"
		}
		return true
	})
}

func (l *loose) quick(v gjson.Result) bool {
	*l = loose(textOf(v))
	return isText(v)
}

func (l *textOnly) quick(v gjson.Result) bool {
	*l = textOnly(textOf(v))
	return isText(v)
}

func (n *count) quick(v gjson.Result) bool {
	return v.Type == gjson.Number && n.UnmarshalJSON([]byte(v.Raw)) == nil
}

// quickly decodes a value to a new one, and null to nil.
func quickly[T any](v gjson.Result, to **T, decode func(*T, gjson.Result) bool) bool {
	if v.Type == gjson.Null {
		return true
	}
	*to = new(T)
	return decode(*to, v)
}

// absent reports whether a value is null, and sets a member to it.
func absent(v gjson.Result, to *json.RawMessage) bool {
	*to = json.RawMessage("null")
	return v.Type == gjson.Null
}

func isText(v gjson.Result) bool { return v.Type == gjson.String || v.Type == gjson.Null }

// textOf returns the text of a string, and "" for null.
func textOf(v gjson.Result) string {
	if v.Type == gjson.String && strings.IndexByte(v.Raw, '\\') < 0 && utf8.ValidString(v.Raw) {
		return v.Raw[1 : len(v.Raw)-1]
	}
	return plain([]byte(v.Raw))
}

// eachMember calls decode for each member of an object until it returns false. It reports whether v is an object of the usual form.
func eachMember(v gjson.Result, decode func(name string, v gjson.Result) bool) bool {
	if !v.IsObject() {
		return false
	}
	var seen [maxQuickMembers]string
	n, usual := 0, true
	v.ForEach(func(key, value gjson.Result) bool {
		name := key.Raw[1 : len(key.Raw)-1]
		usual = n < len(seen) && isUsualName(name) && !slices.Contains(seen[:n], name) && decode(name, value)
		if usual {
			seen[n] = name
			n++
		}
		return usual
	})
	return usual
}

// isUsualName reports whether encoding/json matches a name only with the equal one.
func isUsualName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c >= utf8.RuneSelf || c == '\\' || c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return true
}

// eachElement decodes the elements of a list until one of them has another form. null is no list.
func eachElement[T any](v gjson.Result, to *[]T, decode func(*T, gjson.Result) bool) bool {
	if !v.IsArray() {
		return v.Type == gjson.Null
	}
	*to = make([]T, 0, 1)
	usual := true
	v.ForEach(func(_, value gjson.Result) bool {
		*to = append(*to, *new(T))
		usual = decode(&(*to)[len(*to)-1], value)
		return usual
	})
	return usual
}
