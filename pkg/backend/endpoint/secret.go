package endpoint

import "strings"

// shortKey is the length below which a key may be an ordinary word, such as EMPTY or none.
const shortKey = 8

// WithoutKey returns a message without the key. A short key is redacted only as a separate word. A short key of letters
// only may be an ordinary word, so it is redacted only in a message about keys.
func WithoutKey(message, key string) string {
	if len(key) >= shortKey {
		return strings.ReplaceAll(message, key, "[key]")
	}
	if len(key) < 3 || isLetters(key) && !Mentions(strings.ToLower(message), "key", "token", "auth", "credential", "bearer") {
		return message
	}
	var out strings.Builder
	for {
		i := strings.Index(message, key)
		if i < 0 {
			return out.String() + message
		}
		end := i + len(key)
		alone := (i == 0 || !isKeyByte(message[i-1])) && (end == len(message) || !isKeyByte(message[end]))
		out.WriteString(message[:i])
		if alone {
			out.WriteString("[key]")
		} else {
			out.WriteString(key)
		}
		message = message[end:]
	}
}

func isLetters(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') }) < 0
}

func isKeyByte(b byte) bool {
	return b == '_' || b == '-' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}
