package modeljson

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

const (
	maxExponent = 400  // of a number; exact arithmetic beyond it costs a worker too much
	maxDigits   = 4096 // of a number, for the same reason
)

// literals are words with their JSON form. Those of Python are repairs.
var literals = map[string]string{"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}

var constants = map[string]any{"true": true, "false": false, "null": nil}

// scalar reads a number or a literal.
func (r *reader) scalar() (any, *Error) {
	at := r.pos
	end := len(r.text)
	if n := strings.IndexAny(r.text[at:], " \n\r\t,:[]{}\"'#/`~“‘\u00a0"); n >= 0 {
		end = at + n
	}
	word := r.text[at:end]
	if word == "" {
		return nil, r.unexpected("a value")
	}
	written, known := literals[word]
	switch {
	case known && (r.loose || written == word):
		r.pos = end
		r.out = append(r.out, written...)
		return constants[written], nil
	case known:
		return nil, r.fault(at, fmt.Sprintf("%s in place of %s", word, written))
	case isNumber(word):
		if !inRange(word) {
			return nil, r.fault(at, fmt.Sprintf("the number %s is out of range", short(word)))
		}
		r.pos = end
		r.out = append(r.out, word...)
		return json.Number(word), nil
	case end == len(r.text) && unfinished(word):
		return nil, r.cut()
	}
	return nil, &Error{Offset: at, word: word}
}

// isNumber reports whether word is a number in the grammar of JSON.
func isNumber(word string) bool {
	digits := func() bool {
		rest := strings.TrimLeft(word, "0123456789")
		some := len(rest) < len(word)
		word = rest
		return some
	}
	word = strings.TrimPrefix(word, "-")
	if rest, zero := strings.CutPrefix(word, "0"); zero {
		word = rest
	} else if !digits() {
		return false
	}
	if rest, ok := strings.CutPrefix(word, "."); ok {
		if word = rest; !digits() {
			return false
		}
	}
	if word != "" && (word[0] == 'e' || word[0] == 'E') {
		word = word[1:]
		if word != "" && (word[0] == '+' || word[0] == '-') {
			word = word[1:]
		}
		if !digits() {
			return false
		}
	}
	return word == ""
}

func inRange(number string) bool {
	if len(number) > maxDigits {
		return false
	}
	i := strings.IndexAny(number, "eE")
	if i < 0 {
		return true
	}
	n, err := strconv.Atoi(number[i+1:])
	return err == nil && -maxExponent <= n && n <= maxExponent
}

// unfinished reports whether more text could make a value of word.
func unfinished(word string) bool {
	for literal := range literals {
		if strings.HasPrefix(literal, word) {
			return true
		}
	}
	return isNumber(word + "0")
}

// misspelt describes the fault of a word that is no value.
func misspelt(word string) string {
	number := strings.TrimLeft(word, "+-")
	name := short(word)
	switch strings.ToLower(number) {
	case "nan", "infinity", "inf", "undefined":
		return name + ", which JSON does not have"
	}
	if strings.HasPrefix(number, "..") || strings.HasPrefix(number, "…") {
		return "an ellipsis in place of a value"
	}
	if number == "" || !strings.ContainsRune(".0123456789", rune(number[0])) {
		return fmt.Sprintf("%s without quotes", name)
	}
	fault := "is no number of JSON"
	switch lower := strings.ToLower(number); {
	case word[0] == '+':
		fault = "has a plus sign"
	case strings.HasPrefix(lower, "0x") || strings.HasPrefix(lower, "0o") || strings.HasPrefix(lower, "0b"):
		fault = "is not decimal"
	case strings.Contains(number, "_"):
		fault = "has an underscore"
	case len(number) > 1 && number[0] == '0' && '0' <= number[1] && number[1] <= '9':
		fault = "has a leading zero"
	case number[0] == '.' || strings.Contains(number+" ", ". ") || strings.Contains(lower, ".e"):
		fault = "lacks a digit beside its point"
	case strings.HasSuffix(strings.TrimRight(lower, "+-"), "e"):
		fault = "lacks its exponent"
	}
	return fmt.Sprintf("the number %s %s", name, fault)
}
