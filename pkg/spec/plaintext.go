package spec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// sampleSize is how many bytes of a source are inspected before it is read.
const sampleSize = 64 << 10

// First bytes of files that are not text.
var binaryKinds = []struct{ magic, kind string }{
	{"PK\x03\x04", "a ZIP archive or an Excel workbook; save it as CSV"},
	{"\x1f\x8b", "a gzip file; its name must end with .gz, after the extension of its format, such as .csv.gz"},
	{"\x28\xb5\x2f\xfd", "a zstd file; its name must end with .zst, after the extension of its format, such as .jsonl.zst"},
	{"PAR1", "a Parquet file; name it .parquet, or set format: parquet"},
	{"%PDF-", "a PDF file"},
}

// peekText returns the beginning of a source, and whether it is the whole source. It drops a UTF-8 byte order mark. It
// returns an error with the remedy for a source that is not UTF-8 text with lines.
func peekText(br *bufio.Reader) (sample []byte, whole bool, err error) {
	if err := skipBOM(br); err != nil {
		return nil, false, err
	}
	sample, err = br.Peek(sampleSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return sample, false, nil // the reader of the records reports it with its line
	}
	for _, k := range binaryKinds {
		if bytes.HasPrefix(sample, []byte(k.magic)) {
			return nil, false, fmt.Errorf("it is %s", k.kind)
		}
	}
	if len(sample) >= 4 && (sample[0] == 0 && sample[2] == 0 || sample[1] == 0 && sample[3] == 0) {
		return nil, false, errUTF16
	}
	if bytes.IndexByte(sample, '\n') < 0 && bytes.IndexByte(bytes.TrimRight(sample, "\r"), '\r') >= 0 {
		return nil, false, errLoneCR
	}
	return sample, err != nil, nil
}

var (
	errNotUTF8 = errors.New("not UTF-8 text; convert it to UTF-8, for example with iconv -f WINDOWS-1252 -t UTF-8")
	errUTF16   = errors.New("it is UTF-16 text; convert it to UTF-8, for example with iconv -f UTF-16 -t UTF-8")
	errLoneCR  = errors.New(`its lines end in a carriage return alone; convert it, for example with tr '\r' '\n'`)
	errNUL     = errors.New("it holds a NUL byte, so it is not text")
)

// skipBOM drops a UTF-8 byte order mark and refuses those of UTF-16.
func skipBOM(br *bufio.Reader) error {
	head, err := br.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if bytes.HasPrefix(head, []byte{0xFF, 0xFE}) || bytes.HasPrefix(head, []byte{0xFE, 0xFF}) {
		return errUTF16
	}
	if bytes.Equal(head, []byte("\uFEFF")) {
		_, err = br.Discard(3)
		return err
	}
	return nil
}
