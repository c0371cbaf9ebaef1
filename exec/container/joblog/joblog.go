// Package joblog cuts what a job writes into lines and keeps the last of them.
package joblog

import "bytes"

const (
	MaxLine  = 16 << 10 // longer lines are passed on in pieces
	Keep     = 20       // lines kept, for a job that fails
	tailLine = 1 << 10  // bytes kept of each
)

// A Tail cuts a step's output into lines and keeps the last ones.
type Tail struct {
	partial []byte
	last    []string // a ring once it is full
	next    int
}

// Write takes output in and passes each line that is complete to emit.
func (t *Tail) Write(data []byte, emit func([]byte)) {
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		room := MaxLine - len(t.partial)
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

// Flush passes on what came after the last newline.
func (t *Tail) Flush(emit func([]byte)) {
	if len(t.partial) > 0 {
		t.line(t.partial, emit)
		t.partial = nil
	}
}

func (t *Tail) line(line []byte, emit func([]byte)) {
	line = bytes.TrimSuffix(line, []byte{'\r'})
	kept := string(line[:min(len(line), tailLine)])
	if len(t.last) < Keep {
		t.last = append(t.last, kept)
	} else {
		t.last[t.next] = kept
		t.next = (t.next + 1) % Keep
	}
	emit(line)
}

// Lines returns the last lines, oldest first.
func (t *Tail) Lines() []string {
	return append(append([]string(nil), t.last[t.next:]...), t.last[:t.next]...)
}
