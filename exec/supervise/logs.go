package supervise

import (
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/capture"
	"github.com/kilnbuild/kiln/exec/registry"
)

// A log is a log file of a run, and what takes to it what the command writes.
type log struct {
	*capture.Log
	file *os.File
}

// openLogs opens the logs of a run: for stdout and for stderr.
func openLogs(run exec.Run) (logs [2]log, err error) {
	for i, name := range []string{registry.StdoutFile, registry.StderrFile} {
		l := &logs[i]
		l.file, err = os.OpenFile(filepath.Join(run.Dir, name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err == nil {
			l.Log, err = capture.Start(l.file, run.Spec.LogLimit)
		}
		if err != nil {
			return logs, err
		}
	}
	return logs, nil
}

// close waits for the rest of the log, and returns how many bytes are not in it.
func (l log) close() (left int64, err error) {
	taken, err := l.Log.Close()
	if closeErr := l.file.Close(); err == nil {
		err = closeErr
	}
	return taken.Left, err
}
