// Package capture takes what a command writes to where it is kept: all of it up to a
// limit, and of what is more only the end. The command never waits for room, and is not
// told.
package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A Log takes what is written to a pipe to a writer. A command has the pipe and not the
// file behind it: one that opens /dev/stdout anew would empty that.
type Log struct {
	pipe   *os.File // to write to
	reader *os.File
	to     io.Writer
	limit  int64
	done   chan struct{}
	err    error // why nothing more is written to to; read after done
	taken  Taken
	last   byte
	end    tail
}

// Taken says what became of what a command wrote, in bytes.
type Taken struct {
	Kept int64 // written to where it is kept, kiln's own lines included
	Left int64 // of the command's, and not there
}

// Tail is how much of the end is kept of what is over the limit, in bytes: some thousand
// lines, and little memory for a helper that shares the command's.
const Tail = 256 << 10

// Start begins to take what is written to File to to: limit bytes, and then the end. 0 is no
// limit.
func Start(to io.Writer, limit int64) (*Log, error) {
	l := &Log{to: to, limit: limit, done: make(chan struct{}), last: '\n'}
	var err error
	if l.reader, l.pipe, err = os.Pipe(); err != nil {
		return nil, err
	}
	if err := l.pipe.Chmod(0o666); err != nil { // whoever the command runs as may open /dev/stdout
		l.reader.Close()
		l.pipe.Close()
		return nil, err
	}
	go l.copy()
	return l, nil
}

// File is what the command gets to write to.
func (l *Log) File() *os.File { return l.pipe }

// copy copies until nobody has the pipe open.
func (l *Log) copy() {
	defer close(l.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := l.reader.Read(buf)
		l.take(buf[:n])
		if err == nil {
			continue
		}
		if err != io.EOF && l.err == nil {
			l.err = err
		}
		l.finish()
		return
	}
}

// take keeps what there is room for.
func (l *Log) take(p []byte) {
	room := int64(len(p))
	if l.limit > 0 {
		room = min(room, l.limit-l.taken.Kept)
	}
	if room > 0 {
		l.write(p[:room])
		p = p[room:]
	}
	if len(p) == 0 {
		return
	}
	if l.end.ring == nil && l.err == nil {
		l.say("the limit of a log, %s, is reached: of what follows only the end is kept, when it ends", size(l.limit))
	}
	l.end.write(p)
}

// finish adds the end of what was over the limit.
func (l *Log) finish() {
	end, left := l.end.lines()
	if l.taken.Left += left; left > 0 {
		l.say("%d bytes are left out here", left)
	}
	l.write(end)
}

// write writes what the command wrote. What cannot be written is let go, so that the
// command does not wait for a disk that is full.
func (l *Log) write(p []byte) {
	n := 0
	if l.err == nil && len(p) > 0 {
		n, l.err = l.to.Write(p)
		l.taken.Kept += int64(n)
		l.last = p[max(0, n-1)]
	}
	l.taken.Left += int64(len(p) - n)
}

// say writes a line of kiln's own.
func (l *Log) say(format string, args ...any) {
	line := "kiln: " + fmt.Sprintf(format, args...) + "\n"
	if l.last != '\n' {
		line = "\n" + line
	}
	left := l.taken.Left
	l.write([]byte(line))
	l.taken.Left = left
}

func size(n int64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}

// A tail keeps the last bytes written to it.
type tail struct {
	ring []byte // nil: nothing was written
	all  int64  // bytes written
}

func (t *tail) write(p []byte) {
	if t.ring == nil {
		t.ring = make([]byte, Tail)
	}
	skip := max(0, len(p)-Tail)
	t.all += int64(skip)
	for p = p[skip:]; len(p) > 0; {
		n := copy(t.ring[t.all%Tail:], p)
		t.all += int64(n)
		p = p[n:]
	}
}

// lines returns what is kept, from the beginning of a line if there is one, and how many
// bytes came before that and are not.
func (t *tail) lines() (end []byte, left int64) {
	if t.all <= Tail {
		return t.ring[:t.all], 0
	}
	at := t.all % Tail
	end = append(bytes.Clone(t.ring[at:]), t.ring[:at]...)
	end = end[bytes.IndexByte(end[:len(end)-1], '\n')+1:]
	return end, t.all - int64(len(end))
}

// drainGrace is how long a process that could not be killed may keep the pipe open.
const drainGrace = 2 * time.Second

// Close waits for the rest of what was written. The error says why not all of it is kept
// that the limit would have let through.
func (l *Log) Close() (Taken, error) {
	l.pipe.Close()
	late := time.AfterFunc(drainGrace, func() { l.reader.SetReadDeadline(time.Now()) })
	<-l.done
	late.Stop()
	l.reader.Close()
	if errors.Is(l.err, os.ErrDeadlineExceeded) {
		return l.taken, errors.New("a process that does not end holds it open")
	}
	return l.taken, l.err
}
