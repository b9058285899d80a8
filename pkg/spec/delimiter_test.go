package spec

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCSVDelimiterIsDetected(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]rune{
		"":                                  ',',
		"a\n1\n":                            ',',
		"a,b\n1,2\n":                        ',',
		"name;city\nAnna;Rome\n":            ';',
		"name;price\nAnna;1,50\nBo;2,75\n":  ';',
		"name\tcity\nAnna\tRome, Italy\n":   '\t',
		"name|city\nAnna|Rome\n":            '|',
		"a;b\n":                             ';',
		"a,b;c\n1,2;3\n":                    ',',
		"\"a;b\",c\n\"1;2\",3\n":            ',',
		"\"a,x\";b\n\"1,5\";2\n":            ';',
		"id,tags;labels\n1,x;y\n":           ',',
		"price,eur;name;x\n1;a;2\n2;b;3\n":  ';',
		"Question; answer\nhello\nyou\n":    ',', // one column with a semicolon in its name
		"a;b\n1;2\n1;2;3\n4;5\n":            ';', // one row is wrong
		"a;b\n\"1;\n2\";3\n\"open;4\n":      ';',
		"text\n\"one; two\"\nthree; four\n": ',',
	} {
		assert.Equal(t, string(want), string(sniffDelimiter([]byte(content), true)), content)
	}
	long := "a;b\n" + strings.Repeat("1,5;2\n", 20_000) // the sample cuts its last row
	assert.Equal(t, ';', sniffDelimiter([]byte(long[:sampleSize]), false))
}

func TestCSVDelimiterIsReportedOrGiven(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"semi.csv": "name;city\nAnna;Rome\n", "excel.csv": "sep=;\r\nname;city\r\nAnna;Rome\r\nBo\r\n", "one.csv": "name\nAnna\n",
		"tabs.tsv": "name\tcity\nAnna\tRome; Italy\n", "export": "name^city\nAnna^Rome\n", "none.csv": "name,city\n",
	}
	for inputs, want := range map[string]struct {
		inputs []string
		notes  string
	}{
		"semi.csv":                                  {[]string{"Anna/Rome"}, "semi.csv: the columns are separated by semicolons; if that is wrong"},
		"{file: semi.csv, delimiter: ';'}":          {[]string{"Anna/Rome"}, ""},
		"{file: export, delimiter: '^'}":            {[]string{"Anna/Rome"}, ""},
		"tabs.tsv":                                  {[]string{"Anna/Rome; Italy"}, ""},
		"{file: tabs.tsv, delimiter: tab}":          {[]string{"Anna/Rome; Italy"}, ""},
		"excel.csv":                                 {[]string{"Anna/Rome", "excel.csv:4: the record has 1 fields and the header 2"}, ""},
		"one.csv":                                   {[]string{"Anna/<nil>"}, `one.csv: every row has one column, "name"; if another character separates columns`},
		"{stdin: csv}":                              {[]string{"Anna/Rome"}, "standard input: the columns are separated by tabs"},
		`{stdin: csv, delimiter: "\t"}`:             {[]string{"Anna/Rome"}, ""},
		"none.csv":                                  {nil, "none.csv has a header row and no other"},
		"{file: semi.csv, format: csv}":             {[]string{"Anna/Rome"}, "semi.csv: the columns are separated by semicolons"},
		"{file: semi.csv, delimiter: \",\"}":        {[]string{"<nil>/<nil>"}, "one column"},
		"{file: export, format: csv, delimiter: ^}": {[]string{"Anna/Rome"}, ""},
	} {
		s, err := load(t, "task: x\ninputs: "+inputs+"\n", files, LoadOptions{Stdin: strings.NewReader("name\tcity\nAnna\tRome\n")})
		require.NoError(t, err, inputs)
		var got []string
		for _, in := range collect(t.Context(), t, s) {
			if in.Bad != "" {
				_, name, _ := strings.Cut(in.Where, "/excel")
				got = append(got, "excel"+name+": "+in.Bad)
				continue
			}
			got = append(got, fmt.Sprint(in.Fields["name"], "/", in.Fields["city"]))
		}
		assert.Equal(t, want.inputs, got, inputs)
		notes := strings.Join(s.notes(), "\n")
		if want.notes == "" {
			assert.Empty(t, notes, inputs)
		}
		assert.Contains(t, notes, want.notes, inputs)
		assert.LessOrEqual(t, len(s.notes()), 1, "%s: a second read reports nothing twice", inputs)
	}
}

func TestUnsupportedInputsNameTheRemedy(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"docs/a.md": "", "x[0-9].md": "", "cr.csv": "a,b\r1,2\r3,4\r", "index.csv": ",a\n0,x\n", "utf16.csv": "a\x00,\x00b\x00\n\x001\x00",
		"latin.csv": "a,b\n1,caf\xe9\n", "latinhead.csv": "caf\xe9,b\n1,2\n", "nul.csv": "a,b\n1,x\x00y\n", "book.csv": "PK\x03\x04\x14\x00",
		"pretty.jsonl": "{\n  \"a\": 1\n}\n", "array.jsonl": "[\n {\"a\": 1}\n]\n", "comma.jsonl": "{\"a\": 1},\n{\"a\": 2},\n",
		"twice.jsonl": "{\"a\": 1}\n{\"a\": 1, \"b\": {\"c\": 1, \"c\": 2}}\n{\"a\": 1, \"\\u0061\": 2}\n", "nan.jsonl": "{\"a\": NaN}\n",
		"object.json": "{\"a\": {\"0\": 1}}", "gap.csv": "a,,b\n1,2,3\n", "tail.csv": "a;b;;\n1;2;;\n", "nfc.csv": "caf\u00e9,cafe\u0301\n1,2\n", "quote.jsonl": "{'a': 1}\n",
	}
	for inputs, want := range map[string]string{
		"docs":                      `docs is a folder; for one input per file write a pattern, such as "docs/**/*.md"`,
		"{file: docs, format: csv}": `docs is a folder`,
		"x[0-9].md":                 `if it is a pattern, {glob: "x[0-9].md"}`,
		"y[0-9].md":                 `no such file or directory; if it is a pattern, write {glob: "y[0-9].md"}`,
		"cr.csv":                    `its lines end in a carriage return alone; convert it, for example with tr '\r' '\n'`,
		"gap.csv":                   `column 2, after "a", has no name; the first row must name the fields`,
		"tail.csv":                  `column 3 has no name, because the row ends with ";;"; the first row must name the fields. Remove the characters after "b" from every line, or name the column`,
		"index.csv":                 `column 1 has no name; the first row must name the fields. If it is the index that pandas writes, use to_csv(index=False)`,
		"utf16.csv":                 `it is UTF-16 text; convert it to UTF-8`,
		"latin.csv":                 `latin.csv:2: field "b": not UTF-8 text; convert it to UTF-8, for example with iconv`,
		"latinhead.csv":             `latinhead.csv:1: not UTF-8 text`,
		"nul.csv":                   `nul.csv:2: field "b": it holds a NUL byte`,
		"book.csv":                  `it is a ZIP archive or an Excel workbook`,
		"pretty.jsonl":              `its first value spans several lines; write one value per line`,
		"array.jsonl":               `it contains a JSON array that spans several lines; name it .json or set format: json`,
		"comma.jsonl":               `comma.jsonl:1: not valid JSON: the line ends with a comma`,
		"twice.jsonl":               "twice.jsonl:2: the field \"b.c\" is given twice\ntwice.jsonl:3: the field \"a\" is given twice",
		"nan.jsonl":                 `nan.jsonl:1: not valid JSON: NaN and Infinity are no JSON values; write null`,
		"quote.jsonl":               `quote.jsonl:1: not valid JSON: write names and texts in double quotes`,
		"object.json":               `the file must hold one JSON array, and this is an object`,
		"nfc.csv":                   `nfc.csv:1: two columns are named "café"`,
		"[{\"caf\\u00e9\": 1, \"cafe\\u0301\": 2}]": `the field "café" is given twice`,
		"{glob: '*', delimiter: ';'}":               `delimiter goes with file and stdin only`,
		"{file: comma.jsonl, delimiter: ;}":         `delimiter goes with CSV only, and this is jsonl`,
		"{file: nul.csv, delimiter: ab}":            `must be one character, such as ";", or tab, not "ab"`,
		"{file: nul.csv, delimiter: \"\\n\"}":       `must be one character`,
	} {
		s, err := load(t, "task: \"{a}\"\ninputs: "+inputs+"\n", files, LoadOptions{})
		if err == nil {
			_, err = s.Prepare(t.Context())
			err = plain(err, s.dir())
		}
		require.Error(t, err, inputs)
		assert.Contains(t, err.Error(), want, inputs)
	}
}

// writeCSV formats a table like encoding/csv.
func writeCSV(t require.TestingT, delimiter rune, table [][]string) string {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Comma = delimiter
	require.NoError(t, w.WriteAll(table))
	return b.String()
}

func TestCSVRoundTripWithAnyDelimiter(t *testing.T) {
	t.Parallel()
	cell := rapid.OneOf(
		rapid.StringMatching(`[a-c ,;\t|"'\n=.0-9é]{0,12}`),
		rapid.StringOf(rapid.Rune().Filter(func(r rune) bool { return r != '\r' && r != 0 && r != '\uFFFD' })),
	)
	rapid.Check(t, func(t *rapid.T) {
		delimiter := rapid.SampledFrom([]rune(delimiters)).Draw(t, "delimiter")
		columns := rapid.IntRange(2, 5).Draw(t, "columns")
		if delimiter == ',' {
			columns = rapid.IntRange(1, 5).Draw(t, "columns of a comma file")
		}
		header := rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Za-z_][A-Za-z0-9_ .-]{0,8}[a-z]`), columns, columns, rapid.ID[string]).Draw(t, "header")
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, columns, columns), 0, 6).Draw(t, "rows")
		if columns == 1 {
			rows = slices.DeleteFunc(rows, func(row []string) bool { return row[0] == "" }) // blank lines are not rows
		}
		inputs, err := decodeAll(formatCSV, writeCSV(t, delimiter, append([][]string{header}, rows...)))
		require.NoError(t, err)
		require.Len(t, inputs, len(rows))
		for i, row := range rows {
			require.Empty(t, inputs[i].Bad)
			for j, name := range header {
				require.Equal(t, row[j], inputs[i].Fields[name])
			}
		}
	})
}

func FuzzCSVDelimiter(f *testing.F) {
	f.Add("name", "city", "Anna", "Rome", uint8(1))
	f.Add("a", "b", "1,5", "\"x;y\"\n", uint8(0))
	f.Fuzz(func(t *testing.T, a, b, x, y string, choice uint8) {
		clean := strings.NewReplacer("\r", "", "\x00", "").Replace
		name := func(s string) string {
			return strings.TrimSpace(strings.Map(func(r rune) rune {
				if strings.ContainsRune(delimiters+"\"\n=", r) || r == 0xFEFF {
					return -1
				}
				return r
			}, clean(strings.ToValidUTF8(s, ""))))
		}
		table := [][]string{{"h" + name(a), "i" + name(b)}, {clean(strings.ToValidUTF8(x, "")), clean(strings.ToValidUTF8(y, ""))}}
		if len(x)+len(y) > 1<<12 || checkHeader(append([]string{}, table[0]...), ',') != nil {
			t.Skip("no header, or size that adds nothing")
		}
		header := append([]string{}, table[0]...)
		require.NoError(t, checkHeader(header, ','))
		d := []rune(delimiters)[int(choice)%len(delimiters)]
		inputs, err := decodeAll(formatCSV, writeCSV(t, d, table))
		require.NoError(t, err)
		require.Len(t, inputs, 1)
		require.Equal(t, map[string]any{header[0]: table[1][0], header[1]: table[1][1]}, inputs[0].Fields)
	})
}
