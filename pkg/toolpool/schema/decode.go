package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const maxExponent = 400 // of a number; beyond, exact arithmetic costs more than a worker should spend on it

// Decode reads one JSON value and nothing after it. Numbers come as json.Number, as they are written.
func Decode(text []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("not valid JSON: the text ends too early")
		}
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("not valid JSON: %w, at byte %d", err, syntax.Offset)
		}
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	if rest := bytes.TrimSpace(text[dec.InputOffset():]); len(rest) > 0 {
		return nil, fmt.Errorf("not valid JSON: more text after the value, at byte %d", dec.InputOffset())
	}
	if err := checkNumbers(doc); err != nil {
		return nil, err
	}
	return doc, nil
}

func checkNumbers(v any) error {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if err := checkNumbers(e); err != nil {
				return err
			}
		}
	case []any:
		for _, e := range v {
			if err := checkNumbers(e); err != nil {
				return err
			}
		}
	case json.Number:
		if i := strings.IndexAny(string(v), "eE"); i >= 0 {
			if n, err := strconv.Atoi(string(v[i+1:])); err != nil || n > maxExponent || n < -maxExponent {
				return fmt.Errorf("the number %.40s is out of range", v)
			}
		}
	}
	return nil
}
