package modeljson

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxDepth = 1000
	maxShown = 40 // bytes of the text in a message
	bom      = "\ufeff"
)

// Error reports why a text is not one value of JSON.
type Error struct {
	Offset int  // of the fault in the text, in bytes from 0
	Cut    bool // the text ends before the value does

	// The message is built on demand: hostile texts have a fault at every byte.
	what string // the fault, unless one of the others is set
	want string // expected in the place of char
	char rune
	word string // an invalid value
}

func (e *Error) Error() string {
	what := e.what
	switch {
	case e.Cut:
		return "not valid JSON: the text ends too early"
	case e.word != "":
		what = misspelt(e.word)
	case e.want != "":
		what = fmt.Sprintf("%q in place of %s", e.char, e.want)
	}
	return fmt.Sprintf("not valid JSON: %s, at byte %d", what, e.Offset+1)
}

// Value is a value inside a text.
type Value struct {
	Doc  any    // as [Decode] returns it
	JSON []byte // compact; keys, strings and numbers are as the model wrote them
	End  int    // offset behind the value
}

// Decode reads one JSON value and nothing after it. Numbers come as json.Number, exactly as written. A byte order mark
// in front is ignored. An error is an [*Error].
func Decode(text []byte) (any, error) {
	r := reader{text: string(text)}
	r.pos = len(r.text) - len(strings.TrimPrefix(r.text, bom))
	doc, err := r.value()
	if err == nil {
		_, err = r.space()
	}
	if err == nil && r.pos < len(r.text) {
		err = r.fault(r.pos, "more text after the value")
	}
	if err != nil {
		return nil, err
	}
	return doc, nil
}

// Read reads the value at an offset of text, after white space and comments, and repairs its notation.
func Read(text string, at int) (Value, *Error) {
	r := reader{text: text, pos: at, loose: true}
	doc, err := r.value()
	if err != nil {
		return Value{}, err
	}
	return Value{Doc: doc, JSON: r.out, End: r.pos}, nil
}

// reader reads one value. It writes the compact form of the value to out.
type reader struct {
	text  string
	pos   int
	depth int
	loose bool // repairs
	out   []byte
}

func (r *reader) value() (any, *Error) {
	if err := r.token(); err != nil {
		return nil, err
	}
	switch r.text[r.pos] {
	case '{':
		return r.nested(r.object)
	case '[':
		return r.nested(r.array)
	}
	if open, end := r.quotes(); end != "" {
		return r.str(len(open), end)
	}
	return r.scalar()
}

func (r *reader) nested(read func() (any, *Error)) (any, *Error) {
	if r.depth++; r.depth > maxDepth {
		return nil, r.fault(r.pos, fmt.Sprintf("nested deeper than %d levels", maxDepth))
	}
	defer func() { r.depth-- }()
	return read()
}

func (r *reader) object() (any, *Error) {
	r.open('{')
	var fields map[string]any
	done := func() (any, *Error) {
		r.open('}')
		if fields == nil {
			fields = map[string]any{}
		}
		return fields, nil
	}
	for comma := false; ; {
		if err := r.token(); err != nil {
			return nil, err
		}
		if r.text[r.pos] == '}' && (len(fields) == 0 && !comma || r.loose && comma) {
			return done()
		}
		if len(fields) > 0 {
			r.out = append(r.out, ',')
		}
		at := r.pos
		key, err := r.key()
		if err != nil {
			return nil, err
		}
		if _, twice := fields[key]; twice {
			return nil, r.fault(at, fmt.Sprintf("the key %q occurs twice in one object", short(key)))
		}
		if err := r.token(); err != nil {
			return nil, err
		}
		if r.text[r.pos] != ':' {
			return nil, r.unexpected("a colon")
		}
		r.open(':')
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		if fields == nil {
			fields = map[string]any{}
		}
		fields[key] = value
		gap, err := r.gap()
		if err != nil {
			return nil, err
		}
		_, quoted := r.quotes()
		switch c := r.text[r.pos]; {
		case c == '}':
			return done()
		case c == ',':
			r.pos++
			comma = true
		case r.loose && gap && quoted != "": // no comma, and another key
			comma = false
		default:
			return nil, r.unexpected("a comma or }")
		}
	}
}

func (r *reader) array() (any, *Error) {
	r.open('[')
	items := []any{}
	for comma := false; ; {
		if err := r.token(); err != nil {
			return nil, err
		}
		if r.text[r.pos] == ']' && (len(items) == 0 && !comma || r.loose && comma) {
			r.open(']')
			return items, nil
		}
		if len(items) > 0 {
			r.out = append(r.out, ',')
		}
		item, err := r.value()
		if err != nil {
			return nil, err
		}
		items = append(items, item)
		if err := r.token(); err != nil {
			return nil, err
		}
		switch c := r.text[r.pos]; {
		case c == ']':
			r.open(']')
			return items, nil
		case c == ',':
			r.pos++
			comma = true
		case r.loose && nests(item) && (c == '{' || c == '['):
			comma = false
		default:
			return nil, r.unexpected("a comma or ]")
		}
	}
}

func nests(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	default:
		return false
	}
}

func (r *reader) key() (string, *Error) {
	if open, end := r.quotes(); end != "" {
		return r.str(len(open), end)
	}
	end := r.pos
	for end < len(r.text) && inName(r.text[end], end > r.pos) {
		end++
	}
	name := r.text[r.pos:end]
	if end == len(r.text) {
		return "", r.cut()
	}
	if !r.loose || name == "" || literals[name] != "" {
		return "", r.unexpected("a key in double quotes")
	}
	r.pos = end
	r.out = append(append(append(r.out, '"'), name...), '"')
	return name, nil
}

func inName(c byte, later bool) bool {
	return c == '_' || c == '$' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || later && (c == '-' || '0' <= c && c <= '9')
}

func (r *reader) open(c byte) {
	r.pos++
	r.out = append(r.out, c)
}

// token skips white space and comments. It fails at the end of the text.
func (r *reader) token() *Error {
	_, err := r.gap()
	return err
}

// gap is token, and reports whether there was something to skip.
func (r *reader) gap() (bool, *Error) {
	skipped, err := r.space()
	if err == nil && r.pos >= len(r.text) {
		err = r.cut()
	}
	return skipped, err
}

// space skips white space, and comments where repairs are allowed.
func (r *reader) space() (skipped bool, err *Error) {
	from := r.pos
	for r.pos < len(r.text) {
		rest := r.text[r.pos:]
		switch c := rest[0]; {
		case c == ' ' || c == '\n' || c == '\r' || c == '\t':
			r.pos++
			continue
		case !r.loose:
			return r.pos > from, nil
		case c == '#' || strings.HasPrefix(rest, "//"):
			line := strings.IndexAny(rest, "\r\n")
			if line < 0 {
				line = len(rest)
			}
			r.pos += line
			continue
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return false, r.cut()
			}
			r.pos += end + 4
			continue
		}
		c, size := utf8.DecodeRuneInString(rest)
		if !unicode.IsSpace(c) && c != '\ufeff' {
			break
		}
		r.pos += size
	}
	return r.pos > from, nil
}

func (r *reader) cut() *Error {
	return &Error{Offset: len(r.text), Cut: true}
}

func (r *reader) fault(at int, what string) *Error {
	return &Error{Offset: at, what: what}
}

func (r *reader) unexpected(want string) *Error {
	c, size := utf8.DecodeRuneInString(r.text[r.pos:])
	if c == utf8.RuneError && size <= 1 {
		return r.fault(r.pos, "invalid UTF-8")
	}
	return &Error{Offset: r.pos, want: want, char: c}
}

// short shortens a text for a message.
func short(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "…"
}
