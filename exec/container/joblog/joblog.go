package exec

import "bytes"

const (
	maxLine  = 16 << 10 // longer lines are passed on in pieces
	tailKeep = 20       // lines kept for a step that fails
	tailLine = 1 << 10  // bytes kept of each
)

// A logTail cuts a step's output into lines and keeps the last ones.
type logTail struct {
	partial []byte
	last    []string // a ring once it is full
	next    int
}

// write takes output in and passes each line that is complete to emit.
func (t *logTail) write(data []byte, emit func([]byte)) {
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		room := maxLine - len(t.partial)
		switch {
		case end >= 0 && end <= room:
			t.line(append(t.partial, data[:end]...), emit)
			data = data[end+1:]
		case len(data) > room:
			t.line(append(t.partial, data[:room]...), emit)
			data = data[room:]
		default:
			t.partial = append(t.partial, data...)
			return
		}
		t.partial = t.partial[:0]
	}
}

// flush passes on what came after the last newline.
func (t *logTail) flush(emit func([]byte)) {
	if len(t.partial) > 0 {
		t.line(t.partial, emit)
		t.partial = nil
	}
}

func (t *logTail) line(line []byte, emit func([]byte)) {
	line = bytes.TrimSuffix(line, []byte{'\r'})
	kept := string(line[:min(len(line), tailLine)])
	if len(t.last) < tailKeep {
		t.last = append(t.last, kept)
	} else {
		t.last[t.next] = kept
		t.next = (t.next + 1) % tailKeep
	}
	emit(line)
}

// lines returns the last lines, oldest first.
func (t *logTail) lines() []string {
	return append(append([]string(nil), t.last[t.next:]...), t.last[:t.next]...)
}
