package sim

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
)

// Values of the Redis protocol are string, int64, nil, respError and []any. A map becomes the flat list of its pairs.
type respError string

// readValue reads one value of the Redis protocol, version 2 or 3, and appends its bytes to raw.
func readValue(r *bufio.Reader, raw []byte) (any, []byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, raw, err
	}
	raw = append(raw, line...)
	if len(line) < 3 {
		return nil, raw, fmt.Errorf("short line %q in the Redis protocol", line)
	}
	kind, body := line[0], string(line[1:len(line)-2])
	switch kind {
	case '+', ',', '#':
		return body, raw, nil
	case '-':
		return respError(body), raw, nil
	case '_':
		return nil, raw, nil
	}
	n, err := strconv.ParseInt(body, 10, 64)
	if err != nil {
		return nil, raw, fmt.Errorf("number in the Redis protocol: %w", err)
	}
	switch kind {
	case ':':
		return n, raw, nil
	case '$':
		if n < 0 {
			return nil, raw, nil
		}
		at := len(raw)
		raw = append(raw, make([]byte, n+2)...)
		if _, err := io.ReadFull(r, raw[at:]); err != nil {
			return nil, raw, err
		}
		return string(raw[at : len(raw)-2]), raw, nil
	case '*', '~', '>', '%':
		if n < 0 {
			return nil, raw, nil
		}
		if kind == '%' {
			n *= 2
		}
		list := make([]any, n)
		for i := range list {
			if list[i], raw, err = readValue(r, raw); err != nil {
				return nil, raw, err
			}
		}
		return list, raw, nil
	}
	return nil, raw, fmt.Errorf("unknown kind %q in the Redis protocol", kind)
}

// words converts a request, or a reply that is a flat list, to strings.
func words(v any) []string {
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i, e := range list {
		switch e := e.(type) {
		case string:
			out[i] = e
		case int64:
			out[i] = strconv.FormatInt(e, 10)
		}
	}
	return out
}

// encode returns a request in the Redis protocol.
func encode(args ...string) []byte {
	out := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		out = fmt.Appendf(out, "$%d\r\n%s\r\n", len(a), a)
	}
	return out
}
