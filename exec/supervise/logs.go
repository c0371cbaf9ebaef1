package supervise

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/kilnbuild/kiln/exec/registry"
)

// A log takes what a command writes to its file. The command has a pipe: given the file
// itself, one that opens /dev/stdout anew would empty it.
type log struct {
	pipe   *os.File // to write to
	reader *os.File
	file   *os.File
	done   chan error
}

// openLogs opens the logs of the run in dir: for stdout and for stderr.
func openLogs(dir string) (logs [2]*log, err error) {
	for i, name := range []string{registry.StdoutFile, registry.StderrFile} {
		l := &log{done: make(chan error, 1)}
		l.file, err = os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err == nil {
			l.reader, l.pipe, err = os.Pipe()
		}
		if err == nil {
			err = l.pipe.Chmod(0o666) // whoever the command runs as may open /dev/stdout
		}
		if err != nil {
			return logs, err
		}
		logs[i] = l
		go l.copy()
	}
	return logs, nil
}

// copy copies until nobody has the pipe open. What cannot be written is read all the
// same, so that the command does not wait for a disk that is full.
func (l *log) copy() {
	_, err := io.Copy(struct{ io.Writer }{l.file}, l.reader)
	io.Copy(io.Discard, l.reader)
	l.done <- err
}

// drainGrace is how long a process that could not be killed may keep a log open.
const drainGrace = 2 * time.Second

// close waits for the rest of the log.
func (l *log) close() error {
	l.pipe.Close()
	late := time.AfterFunc(drainGrace, func() { l.reader.SetReadDeadline(time.Now()) })
	err := <-l.done
	late.Stop()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errors.New("a process that does not end holds it open")
	}
	l.reader.Close()
	if closeErr := l.file.Close(); err == nil {
		err = closeErr
	}
	return err
}
