package spec

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// delimiters are the candidates for a CSV file without a given delimiter. On a tie the first one wins.
const delimiters = ",;\t|"

// delimiterNames are the names of delimiters in messages.
var delimiterNames = map[rune]string{',': "commas", ';': "semicolons", '\t': "tabs", '|': "vertical bars"}

// sniffDelimiter returns the character that separates the columns of a CSV file that begins with sample. whole reports
// that sample is the whole file.
//
// Candidates are characters of the header row outside quotes. The winner gives the most rows as many columns as the
// header. A comma wins if no candidate fits half of the rows.
func sniffDelimiter(sample []byte, whole bool) rune {
	best, most := ',', 0.0
	for _, d := range delimiters {
		if score := fitOf(sample, whole, d); score >= 0.5 && score > most {
			best, most = d, score
		}
	}
	return best
}

// fitOf returns the share of rows that have as many columns as the header. It is 1 for a header without rows. The header
// must have at least two columns.
func fitOf(sample []byte, whole bool, delimiter rune) float64 {
	r := csv.NewReader(bytes.NewReader(sample))
	r.Comma, r.FieldsPerRecord, r.ReuseRecord = delimiter, -1, true
	header, err := r.Read()
	if err != nil || len(header) < 2 {
		return 0
	}
	columns := len(header)
	rows, fit := 0, 0
	for {
		record, err := r.Read()
		// The sample may end in the middle of its last row.
		if errors.Is(err, io.EOF) || !whole && r.InputOffset() >= int64(len(sample)) {
			break
		}
		rows++
		if err == nil && len(record) == columns {
			fit++
		}
	}
	if rows == 0 {
		return 1
	}
	return float64(fit) / float64(rows)
}

// separatorLine returns the delimiter in a first line such as "sep=;", which Excel also reads, and the line's length.
// The length is 0 without such a line.
func separatorLine(sample []byte) (delimiter rune, length int) {
	line, _, found := bytes.Cut(sample, []byte("\n"))
	rest, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\r")), []byte("sep="))
	if d, size := utf8.DecodeRune(rest); found && ok && size == len(rest) && canDelimit(d) {
		return d, len(line) + 1
	}
	return 0, 0
}

func canDelimit(d rune) bool {
	return d != 0 && d != '"' && d != '\r' && d != '\n' && d != utf8.RuneError
}

// delimiter reads the field delimiter: one character, or tab.
func (l *loader) delimiter(to *rune) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		text, ok := l.Text(field, n)
		if !ok {
			return
		}
		if strings.EqualFold(text, "tab") || text == `\t` {
			text = "\t"
		}
		d, size := utf8.DecodeRuneInString(text)
		if text == "" || size != len(text) || !canDelimit(d) {
			l.Failf(n, field, `must be one character, such as ";", or tab, not %q`, strictyaml.Shorten(text))
			return
		}
		*to = d
	}
}

// delimiterNote returns the message about a delimiter that was detected.
func delimiterNote(name string, d rune) string {
	shown, ok := delimiterNames[d]
	if !ok {
		shown = fmt.Sprintf("%q", d)
	}
	return fmt.Sprintf("%s: the columns are separated by %s; if that is wrong, give its delimiter: {file: …, delimiter: …}", name, shown)
}
