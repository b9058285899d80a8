package spec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxThriftDepth limits the nesting of a footer. Those of real files have a depth of about ten.
const maxThriftDepth = 64

// checkFooter returns an error if the footer of a Parquet file claims more than it has. The library allocates what a length claims, and
// Go ends a program that has no memory for it. A file ends with its footer in Thrift's compact protocol, the footer's length in four bytes,
// and a mark; see https://parquet.apache.org/docs/file-format/.
func checkFooter(file sized) error {
	var end [8]byte
	if file.Size() < int64(len(end)) {
		return nil // the library reports it
	}
	if _, err := file.ReadAt(end[:], file.Size()-int64(len(end))); err != nil {
		return fmt.Errorf("read its end: %w", err)
	}
	length := int64(binary.LittleEndian.Uint32(end[:]))
	if length > file.Size()-int64(len(end)) {
		return fmt.Errorf("it is not a complete Parquet file: its end claims %d bytes of metadata, and the file has %d bytes", length, file.Size())
	}
	footer := make([]byte, length)
	if _, err := file.ReadAt(footer, file.Size()-int64(len(end))-length); err != nil {
		return fmt.Errorf("read its metadata: %w", err)
	}
	if _, err := skipThrift(footer, thriftStruct, 0); err != nil {
		return fmt.Errorf("it is a damaged Parquet file: its metadata is %w", err)
	}
	return nil
}

// Types of the compact protocol; see https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
)

var (
	errThriftEnd  = errors.New("shorter than its lengths claim")
	errThriftType = errors.New("of an unknown type")
)

// skipThrift returns the text behind a value. Each element of a list takes at least one byte, so a size is a claim that can be checked.
func skipThrift(text []byte, kind byte, depth int) ([]byte, error) {
	if depth > maxThriftDepth {
		return nil, errors.New("nested too deeply")
	}
	switch kind {
	case thriftTrue, thriftFalse, thriftByte:
		return skipBytes(text, 1)
	case thriftI16, thriftI32, thriftI64:
		_, rest, err := thriftNumber(text)
		return rest, err
	case thriftDouble:
		return skipBytes(text, 8)
	case thriftBinary:
		size, rest, err := thriftNumber(text)
		if err != nil {
			return nil, err
		}
		return skipBytes(rest, size)
	case thriftList, thriftSet:
		return skipThriftList(text, depth)
	case thriftMap:
		return skipThriftMap(text, depth)
	case thriftStruct:
		return skipThriftStruct(text, depth)
	}
	return nil, errThriftType
}

func skipThriftStruct(text []byte, depth int) ([]byte, error) {
	for {
		if len(text) == 0 {
			return nil, errThriftEnd
		}
		head := text[0]
		text = text[1:]
		if head == 0 {
			return text, nil
		}
		var err error
		if head>>4 == 0 { // the number of the field follows
			if _, text, err = thriftNumber(text); err != nil {
				return nil, err
			}
		}
		if kind := head & 15; kind != thriftTrue && kind != thriftFalse { // the head has the value of these
			if text, err = skipThrift(text, kind, depth+1); err != nil {
				return nil, err
			}
		}
	}
}

func skipThriftList(text []byte, depth int) ([]byte, error) {
	if len(text) == 0 {
		return nil, errThriftEnd
	}
	head, size := text[0], uint64(text[0]>>4)
	text = text[1:]
	var err error
	if size == 15 {
		if size, text, err = thriftNumber(text); err != nil {
			return nil, err
		}
	}
	if size > uint64(len(text)) {
		return nil, errThriftEnd
	}
	for range size {
		if text, err = skipThrift(text, head&15, depth+1); err != nil {
			return nil, err
		}
	}
	return text, nil
}

func skipThriftMap(text []byte, depth int) ([]byte, error) {
	size, text, err := thriftNumber(text)
	if err != nil || size == 0 {
		return text, err
	}
	if size >= uint64(len(text)) {
		return nil, errThriftEnd
	}
	kinds := text[0]
	text = text[1:]
	for range size {
		if text, err = skipThrift(text, kinds>>4, depth+1); err == nil {
			text, err = skipThrift(text, kinds&15, depth+1)
		}
		if err != nil {
			return nil, err
		}
	}
	return text, nil
}

// thriftNumber reads a number of variable length.
func thriftNumber(text []byte) (n uint64, rest []byte, err error) {
	n, size := binary.Uvarint(text)
	if size <= 0 {
		return 0, nil, errThriftEnd
	}
	return n, text[size:], nil
}

func skipBytes(text []byte, n uint64) ([]byte, error) {
	if n > uint64(len(text)) {
		return nil, errThriftEnd
	}
	return text[n:], nil
}
