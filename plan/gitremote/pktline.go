package gitremote

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Lines of git's protocol have their length before them. Some are only a mark.
type mark int

const (
	line      mark = iota
	flush          // 0000: ends a message
	delimiter      // 0001: ends a section
)

// maxLines is how many bytes of lines a server may send beside the pack: a million
// refs with long names are less.
const maxLines = 256 << 20

// A lineReader reads lines.
type lineReader struct {
	r    *bufio.Reader
	buf  []byte
	read int64
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 128<<10)}
}

// next returns the next line without the newline at its end, or a mark. What it
// returns is valid until it is called again. A line that tells an error is returned
// as one.
func (l *lineReader) next() ([]byte, mark, error) {
	b, m, err := l.raw()
	if err != nil || m != line {
		return nil, m, err
	}
	if l.read += int64(len(b)); l.read > maxLines {
		return nil, line, errors.New("the server sends more lines than any repository has refs")
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	if text, is := bytes.CutPrefix(b, []byte("ERR ")); is {
		return nil, line, &refusedError{clean(text)}
	}
	return b, line, nil
}

func (l *lineReader) raw() ([]byte, mark, error) {
	var head [4]byte
	if _, err := io.ReadFull(l.r, head[:]); err != nil {
		return nil, line, cut(err)
	}
	n, err := strconv.ParseUint(string(head[:]), 16, 16)
	switch {
	case err != nil || n == 3:
		return nil, line, fmt.Errorf("it does not speak git's protocol: %q is no length of a line", head)
	case n == 0:
		return nil, flush, nil
	case n == 1 || n == 2:
		return nil, delimiter, nil
	}
	if cap(l.buf) < int(n) {
		l.buf = make([]byte, 1<<16)
	}
	b := l.buf[:n-4]
	_, err = io.ReadFull(l.r, b)
	return b, line, cut(err)
}

// cut is the error of a connection that ended in the middle of something.
func cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return &TemporaryError{Err: errors.New("the server ended the connection")}
	}
	return err
}

// A refusedError is what the server says of why it does not do what was asked.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return "the server says: " + e.text }

// clean makes the text of a server safe to show: it can be anything.
func clean(text []byte) string {
	if len(text) > 500 {
		text = text[:500]
	}
	quoted := strconv.QuoteToGraphic(string(bytes.TrimSpace(text)))
	return quoted[1 : len(quoted)-1]
}

// lines builds a request.
type lines struct{ bytes.Buffer }

func (l *lines) add(format string, args ...any) {
	text := fmt.Sprintf(format, args...) + "\n"
	fmt.Fprintf(l, "%04x%s", len(text)+4, text)
}

func (l *lines) mark(m mark) {
	if m == flush {
		l.WriteString("0000")
	} else {
		l.WriteString("0001")
	}
}

// A sideReader reads the pack out of the lines that carry it beside messages.
type sideReader struct {
	l    *lineReader
	rest []byte
}

func (s *sideReader) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		data, m, err := s.l.raw()
		if err != nil {
			return 0, err
		}
		if m != line || len(data) == 0 {
			return 0, io.EOF
		}
		switch data[0] {
		case 1:
			s.rest = data[1:]
		case 2: // how far the server is
		case 3:
			return 0, fmt.Errorf("the server says: %s", clean(data[1:]))
		default:
			return 0, fmt.Errorf("it does not speak git's protocol: there is no band %d", data[0])
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
