package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/kilnbuild/kiln/exec"
)

// Wait returns a run once its record says that it has ended.
func (g *Registry) Wait(ctx context.Context, id string) (exec.Run, error) {
	run, err := g.Get(id)
	if err != nil || run.Status.Ended() {
		return run, err
	}
	w := g.Watch(id)
	defer w.Close()
	for {
		run, err := g.Get(id)
		if err != nil || run.Status.Ended() {
			return run, err
		}
		select {
		case <-w.C:
		case <-ctx.Done():
			return run, ctx.Err()
		}
	}
}

// Logs writes what is in a run's log files, and with follow what comes to them until
// the run has ended.
func (g *Registry) Logs(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error {
	run, err := g.Get(id)
	if err != nil {
		return err
	}
	logs := []*logReader{{path: g.path(id, StdoutFile), to: stdout}, {path: g.path(id, StderrFile), to: stderr}}
	defer func() {
		for _, l := range logs {
			l.close()
		}
	}()
	var w *Watch
	for {
		// What was written before the run ended is there when its record says so.
		ended := run.Status.Ended()
		for _, l := range logs {
			if err := l.copy(); err != nil {
				return fmt.Errorf("read the log of run %s: %w", id, err)
			}
		}
		if ended || !follow {
			return nil
		}
		if w == nil {
			w = g.Watch(id)
			defer w.Close()
		} else {
			select {
			case <-w.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if run, err = g.Get(id); err != nil {
			return err
		}
	}
}

// NoteLost adds a line to each log that has fewer bytes than were written for it, in that of
// stdout from the byte from on: its environment has lost them. It returns how many.
func (g *Registry) NoteLost(id string, from int64, written [2]int64) (lost int64, err error) {
	for i, name := range []string{StdoutFile, StderrFile} {
		info, err := os.Stat(g.path(id, name))
		if err != nil {
			return lost, fmt.Errorf("look at the log of run %s: %w", id, err)
		}
		missing := written[i] - (info.Size() - from)
		from = 0
		if missing <= 0 {
			continue
		}
		lost += missing
		f, err := os.OpenFile(g.path(id, name), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return lost, fmt.Errorf("add to the log of run %s: %w", id, err)
		}
		_, err = fmt.Fprintf(f, "\nkiln: %d bytes of this log were lost where the command ran\n", missing)
		if err = errors.Join(err, f.Close()); err != nil {
			return lost, fmt.Errorf("add to the log of run %s: %w", id, err)
		}
	}
	return lost, nil
}

// A logReader reads on in a log file.
type logReader struct {
	path string
	to   io.Writer
	file *os.File
}

func (l *logReader) copy() (err error) {
	if l.to == nil {
		return nil
	}
	if l.file == nil {
		if l.file, err = os.Open(l.path); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
	}
	_, err = io.Copy(l.to, l.file)
	return err
}

func (l *logReader) close() {
	if l.file != nil {
		l.file.Close()
	}
}
