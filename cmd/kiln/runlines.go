package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/formula/warpforge"
	"github.com/kilnbuild/kiln/warehouse"
)

// runLines prints a run as warpforge does with --json: an object a line, as it happens.
type runLines struct {
	w    io.Writer
	s    *session
	made map[string]map[string]warehouse.WareID // by step address
	err  error
}

// A runRecord is warpforge's, schema RunRecord.
type runRecord struct {
	GUID      string            `json:"guid"`
	Time      int64             `json:"time"` // seconds since 1970
	FormulaID string            `json:"formulaID"`
	ExitCode  int               `json:"exitcode"`
	Results   map[string]string `json:"results"` // "ware:…" by output
}

func newRunLines(w io.Writer, s *session) (*runLines, error) {
	if s.warpforge == nil {
		return nil, errors.New("option --format warpforge: this is no warpforge document, and only those have FormulaIDs")
	}
	return &runLines{w: w, s: s, made: map[string]map[string]warehouse.WareID{}}, nil
}

func (l *runLines) print(kind string, value any) {
	text, err := json.Marshal(map[string]any{kind: value})
	if err == nil {
		_, err = fmt.Fprintf(l.w, "%s\n", text)
	}
	if l.err == nil {
		l.err = err
	}
}

// event prints what of an event warpforge tells: lines of logs, and the record of each
// step that ended, well or not.
func (l *runLines) event(e exec.Event) {
	switch e.Kind {
	case exec.StepLog:
		l.print("log", struct{ Msg string }{string(e.Line)})
	case exec.StepRemembered, exec.StepDone:
		l.made[e.Step.Addr] = e.Outputs
		l.record(e, 0)
	case exec.StepFailed:
		code := 1
		if failed := (*exec.StepError)(nil); errors.As(e.Err, &failed) && failed.Failure == exec.FailedExit {
			code = failed.ExitCode
		}
		l.record(e, code)
	}
}

func (l *runLines) record(e exec.Event, code int) {
	at := e.Time
	if at.IsZero() {
		at = time.Now()
	}
	r := runRecord{GUID: newGUID(), Time: at.Unix(), ExitCode: code, FormulaID: l.s.formulaIDs(l.made)[e.Step.Addr], Results: map[string]string{}}
	for name, id := range e.Outputs {
		r.Results[name] = "ware:" + id.String()
	}
	l.print("runrecord", r)
}

// finish prints the results of a plot.
func (l *runLines) finish(r exec.Result) error {
	if l.s.warpforge.Document.Kind != warpforge.KindFormula {
		l.print("plotresults", r.Outputs)
	}
	return l.err
}

// newGUID is a random UUID, RFC 9562, version 4.
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// observer is who is told what happens in a run: the story, and with a format the lines.
func (f *runFlags) observer(tale *story) func(exec.Event) {
	if f.lines == nil {
		return tale.event
	}
	return func(e exec.Event) {
		tale.event(e)
		f.lines.event(e)
	}
}
