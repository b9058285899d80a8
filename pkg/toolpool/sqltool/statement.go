package sqltool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// readers are the words with which a statement that only reads can begin. ATTACH, PRAGMA, SET, COPY, CALL and the
// rest are refused here; that a SELECT or WITH writes nothing is the database's business.
var readers = []string{"SELECT", "WITH", "VALUES", "EXPLAIN"}

// readStatement returns the one statement in text, without a semicolon at its end. It is there so that a model is told
// what to do. It does not know all the ways in which the dialects hide a semicolon, such as escape strings, dollar quotes
// and nested comments: that two statements never run is the drivers' business.
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

// lengthTo is the length of s up to and with end, or all of it.
func lengthTo(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }
