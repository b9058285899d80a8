package sqltool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// readers are the words that start a read-only statement. readStatement refuses ATTACH, PRAGMA, SET, COPY, CALL and the
// rest. The database itself prevents writes by a SELECT or WITH.
var readers = []string{"SELECT", "WITH", "VALUES", "EXPLAIN"}

// readStatement returns the only statement in text, without a semicolon at its end. Its errors guide the model. It is
// not a safeguard: dialects can hide a semicolon in escape strings, dollar quotes and nested comments. The drivers
// ensure that two statements never run.
func readStatement(text string) (string, error) {
	if strings.ContainsRune(text, 0) {
		return "", errors.New("the statement holds a NUL character")
	}
	end := len(text)
	first := ""
	for i := 0; i < len(text); {
		switch rest := text[i:]; {
		case strings.HasPrefix(rest, "--"):
			i += min(lengthTo(rest, "\n"), lengthTo(rest, "\r"))
		case strings.HasPrefix(rest, "/*"):
			i += 2 + lengthTo(rest[2:], "*/")
		case isSpace(rest[0]):
			i++
		case end < len(text):
			return "", errors.New("only one statement is allowed in a call")
		case rest[0] == ';':
			end = i
			i++
		case rest[0] == '\'' || rest[0] == '"' || rest[0] == '`':
			i += 1 + lengthTo(rest[1:], rest[:1])
		default:
			n := 1
			for n < len(rest) && isLetter(rest[n]) && isLetter(rest[0]) {
				n++
			}
			if first == "" && isLetter(rest[0]) {
				first = strings.ToUpper(rest[:n])
			}
			i += n
		}
	}
	if !slices.Contains(readers, first) {
		return "", fmt.Errorf("the statement must begin with one of %s: the database can only be read", strings.Join(readers, ", "))
	}
	return text[:end], nil
}

// lengthTo returns the length of s up to and including end, or the length of s without end.
func lengthTo(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }
