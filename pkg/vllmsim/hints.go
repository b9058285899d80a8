package vllmsim

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxScan  = 16 << 10 // limit of the searched part of a message, in bytes
	maxWords = 60       // limit of the prompt text in free strings, in bytes
	maxQuery = 80
	maxFound = 8 // limit of candidates of each kind
)

// hints finds values for parameters in the user's words, by the parameters' names.
type hints struct {
	text string // the user's message
	nth  int    // number of the tool turn; selects one of several candidates

	scanned                             bool
	files, dirs, urls, ids, names, mail []string
}

// meaning is the kind of value that a parameter's name suggests.
type meaning int

const (
	meansOther meaning = iota
	meansPath
	meansURL
	meansID
	meansMail
	meansQuery
	meansName
)

var meanings = map[string]meaning{
	"path": meansPath, "file": meansPath, "filename": meansPath, "filepath": meansPath, "dir": meansPath, "directory": meansPath, "folder": meansPath, "document": meansPath,
	"url": meansURL, "uri": meansURL, "link": meansURL, "href": meansURL,
	"id": meansID, "number": meansID, "ticket": meansID, "key": meansID, "ref": meansID,
	"email": meansMail, "mail": meansMail,
	"query": meansQuery, "q": meansQuery, "search": meansQuery, "question": meansQuery, "keywords": meansQuery, "topic": meansQuery, "term": meansQuery, "input": meansQuery,
	"city": meansName, "location": meansName, "place": meansName, "name": meansName, "country": meansName, "person": meansName, "company": meansName,
}

func meaningOf(param string) meaning {
	name := strings.ToLower(param)
	if m, ok := meanings[name]; ok {
		return m
	}
	// In "file_path" and "customerId" the last part is the most specific one.
	parts := strings.FieldsFunc(splitCamel(param), func(r rune) bool { return r == '_' || r == '-' || r == ' ' })
	for _, part := range slices.Backward(parts) {
		part = strings.ToLower(part)
		if m, ok := meanings[part]; ok {
			return m
		}
		if m, ok := meanings[strings.TrimSuffix(part, "s")]; ok {
			return m
		}
	}
	return meansOther
}

func splitCamel(s string) string {
	var b strings.Builder
	lower := false
	for _, r := range s {
		if lower && unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		lower = unicode.IsLower(r)
		b.WriteRune(r)
	}
	return b.String()
}

// argument returns a value from the user's words for a tool's parameter. A name without a special meaning gets a proper name or
// the words themselves.
func (h *hints) argument(param string) (string, bool) {
	h.scan()
	switch meaningOf(param) {
	case meansQuery:
		q := firstWords(h.text, maxQuery)
		return q, q != ""
	case meansName:
		return h.pick(h.names)
	case meansOther:
		if v, ok := h.pick(h.names); ok {
			return v, true
		}
		return "", false
	default:
		return h.echo(param)
	}
}

// echo returns text of the prompt that an answer may repeat unchanged: paths, links, identifiers.
func (h *hints) echo(param string) (string, bool) {
	switch meaningOf(param) {
	case meansPath:
		h.scan()
		if v, ok := h.pick(h.files); ok {
			return v, true
		}
		return h.pick(h.dirs)
	case meansURL:
		h.scan()
		return h.pick(h.urls)
	case meansID:
		h.scan()
		return h.pick(h.ids)
	case meansMail:
		h.scan()
		return h.pick(h.mail)
	default:
		return "", false
	}
}

func (h *hints) pick(from []string) (string, bool) {
	if len(from) == 0 {
		return "", false
	}
	return from[h.nth%len(from)], true
}

// scan classifies the tokens of the message. It runs once.
func (h *hints) scan() {
	if h.scanned {
		return
	}
	h.scanned = true
	sentence := true
	for token := range strings.FieldsFuncSeq(clip(h.text, maxScan), isSeparator) {
		ends := strings.HasSuffix(token, ".") || strings.HasSuffix(token, "?") || strings.HasSuffix(token, "!") || strings.HasSuffix(token, ":")
		t := strings.TrimRight(token, ".?!:")
		if _, value, ok := strings.Cut(t, "="); ok && !strings.Contains(t, "://") { // "path=main.go"
			t = value
		}
		if t != "" {
			h.sort(t, sentence)
		}
		sentence = ends
	}
}

func (h *hints) sort(t string, startsSentence bool) {
	keep := func(list *[]string) {
		if len(*list) < maxFound && !slices.Contains(*list, t) {
			*list = append(*list, t)
		}
	}
	switch {
	case strings.HasPrefix(t, "http://") || strings.HasPrefix(t, "https://"):
		keep(&h.urls)
	case strings.Contains(t, "@") && strings.Contains(t, "."):
		keep(&h.mail)
	case hasExtension(t):
		keep(&h.files)
	case len(t) > 2 && strings.Contains(t, "/") && !strings.Contains(t, "://"):
		keep(&h.dirs)
	case strings.ContainsAny(t, "0123456789"):
		keep(&h.ids)
	default:
		if r, _ := utf8.DecodeRuneInString(t); unicode.IsUpper(r) && !startsSentence && len(t) > 2 {
			keep(&h.names)
		}
	}
}

// hasExtension distinguishes "pkg/main.go" from "e.g" and "v1.2".
func hasExtension(t string) bool {
	dot := strings.LastIndexByte(t, '.')
	base, ext := t[:max(0, dot)], t[dot+1:]
	if dot < 1 || ext == "" || len(ext) > 8 || len(base)+len(ext) < 3 {
		return false
	}
	for i := range len(ext) {
		if classOf(ext[i]) != word || ext[i] >= utf8.RuneSelf || i == 0 && ext[i] <= '9' {
			return false
		}
	}
	return true
}

func isSeparator(r rune) bool {
	return unicode.IsSpace(r) || strings.ContainsRune("\"'`()[]{}<>,;|*", r)
}

// firstWords returns the beginning of a text on one line, cut between words.
func firstWords(text string, limit int) string {
	var b strings.Builder
	for w := range strings.FieldsSeq(clip(text, 4*limit)) {
		if b.Len() > 0 && b.Len()+1+len(w) > limit {
			break
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(clip(w, limit))
	}
	return b.String()
}

// clip cuts a text to at most n bytes without splitting a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
