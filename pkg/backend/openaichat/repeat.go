package openaichat

import (
	"bytes"
	"encoding/json"
)

// chunkReader decodes the chunks of one stream. Most chunks of an answer differ from the one before in one text only: the piece of the
// content, or of a call's arguments. Such a chunk is the last one with another text, and needs no decoding.
type chunkReader struct {
	last chunk
	// before and after are the bytes around the text in the last chunk that was decoded; empty if the text was not found.
	before, after []byte
	set           func(text string) // sets the text in last
	misses        int               // chunks in sequence whose bytes around the text differed from the one before
}

// maxMisses is the number of misses after which a stream is decoded in whole: a server adds something new to each chunk.
const maxMisses = 8

// read returns the chunk of an event. It is valid until the next call.
func (r *chunkReader) read(event []byte) (*chunk, error) {
	if literal, ok := r.varied(event); ok {
		r.misses = 0
		r.set(plain(literal))
		return &r.last, nil
	}
	if len(r.before) > 0 {
		r.misses++
	}
	r.last, r.before, r.after = chunk{}, r.before[:0], r.after[:0]
	if !r.last.quick(event) {
		r.last = chunk{}
		if err := json.Unmarshal(event, &r.last); err != nil {
			return nil, err
		}
	}
	if r.misses < maxMisses {
		r.learn(event)
	}
	return &r.last, nil
}

// varied returns the text of an event that differs from the last decoded one in its text only, as a JSON string.
func (r *chunkReader) varied(event []byte) ([]byte, bool) {
	if len(r.before) == 0 || len(event) < len(r.before)+len(r.after)+2 || !bytes.HasPrefix(event, r.before) || !bytes.HasSuffix(event, r.after) {
		return nil, false
	}
	literal := event[len(r.before) : len(event)-len(r.after)]
	return literal, isString(literal)
}

// isString reports whether text is one JSON string.
func isString(text []byte) bool {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return false
	}
	for _, b := range text[1 : len(text)-1] {
		if b == '"' || b == '\\' || b < ' ' {
			return b == '\\' && json.Valid(text)
		}
	}
	return true
}

// learn finds the text of the last chunk in its event. The text is the value of the only member of its name, and the bytes around it
// contain no escape and no letter that the decoder of names could fold. So no other member can replace it.
func (r *chunkReader) learn(event []byte) {
	name, text, set := r.last.text()
	if text == "" {
		return
	}
	member := []byte(`"` + name + `":`)
	at := bytes.Index(event, member)
	if at < 0 {
		return
	}
	start := at + len(member)
	start += len(event[start:]) - len(bytes.TrimLeft(event[start:], " "))
	end := start + stringEnd(event[start:])
	before, after := event[:start], event[end:]
	if !isString(event[start:end]) || plain(event[start:end]) != text || !isUnambiguous(before) || !isUnambiguous(after) {
		return
	}
	quoted := member[:len(member)-1]
	if bytes.Count(bytes.ToLower(before), quoted) != 1 || bytes.Contains(bytes.ToLower(after), quoted) {
		return
	}
	r.before, r.after, r.set = append(r.before, before...), append(r.after, after...), set
}

// text returns the name of the member with the text of a chunk, the text, and a function that sets it. The text is empty if the chunk
// may contain anything else that belongs to the answer.
func (c *chunk) text() (name, text string, set func(string)) {
	if len(c.Choices) != 1 || c.Choices[0].Delta == nil || c.Choices[0].Message != nil || c.ToolCall != nil {
		return "", "", nil
	}
	d := c.Choices[0].Delta
	switch {
	case d.FunctionCall != nil:
		return "", "", nil
	case len(d.ToolCalls) == 0:
		return "content", d.Content.text, func(s string) { d.Content.text = s }
	case len(d.ToolCalls) == 1 && d.Content.text == "":
		f := &d.ToolCalls[0].Function
		return "arguments", string(f.Arguments), func(s string) { f.Arguments = loose(s) }
	default:
		return "", "", nil
	}
}

// isUnambiguous reports whether JSON has no escapes and ASCII letters only.
func isUnambiguous(text []byte) bool {
	for _, b := range text {
		if b == '\\' || b >= 0x80 {
			return false
		}
	}
	return true
}

// stringEnd returns the length of the JSON string at the start of text, or 0.
func stringEnd(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}
