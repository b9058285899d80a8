package agent

import (
	"regexp"
	"strings"
)

// maxCandidates bounds how many places of an answer are tried as JSON.
const maxCandidates = 32

var fence = regexp.MustCompile("(?s)```[a-zA-Z0-9_-]*[ \t]*\n(.*?)```")

// afterThinking drops what a reasoning model wrote before its answer, where the server did not.
func afterThinking(text string) string {
	if _, after, found := lastCut(text, "</think>"); found {
		return strings.TrimLeft(after, " \t\r\n")
	}
	return text
}

func lastCut(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// jsonCandidates lists the parts of an answer that may be the JSON asked for, the likeliest first: the whole text, the
// code blocks, every object or array that closes, and last the first one that does not close.
func jsonCandidates(text string) []string {
	text = strings.TrimSpace(text)
	list := []string{text}
	for _, m := range fence.FindAllStringSubmatch(text, maxCandidates) {
		list = append(list, strings.TrimSpace(m[1]))
	}
	open := ""
	for i := 0; i < len(text) && len(list) < maxCandidates; i++ {
		if text[i] != '{' && text[i] != '[' {
			continue
		}
		end := closing(text[i:])
		if end < 0 {
			if open != "" {
				break // text after an opener that never closes was looked through once; that is enough
			}
			open = text[i:]
			continue
		}
		list = append(list, text[i:i+end])
		i += end - 1
	}
	if open != "" {
		list = append(list, open)
	}
	return list
}

// closing returns the length of the object or array that text begins with, or -1 if it does not close. Brackets are
// counted without regard to their kind; whether it is JSON is for the parser to say.
func closing(text string) int {
	depth := 0
	inString := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
