package exec

import (
	"time"

	"github.com/kilnbuild/kiln/warehouse"
)

// An End is how a run ended, as whoever carried it out saw it.
type End struct {
	ExitCode  int       // -1: it did not exit
	Signal    int       // that ended it; 0: none
	Entry     int       // script: index from 0 of the entry it was at; -1: none
	Reason    RunReason // besides exit and signal; "": ExitCode and Signal tell
	Message   string    // of the reason, for people
	Cancelled bool      // it ended because it was asked to, whatever else is said
	Started   time.Time // of the command; zero: it was not started
	Took      time.Duration
	Outputs   map[string]warehouse.WareID
	Unlogged  int64 // bytes that the command wrote and its logs do not have
}

// Exited is the End of a command by itself.
func Exited(code, signal int) End { return End{ExitCode: code, Signal: signal, Entry: -1} }

// NotRun is the End of a run whose command was not started, for a reason.
func NotRun(reason RunReason, message string) End {
	return End{ExitCode: -1, Entry: -1, Reason: reason, Message: message}
}

// Settle writes an end to the record of a run.
func (e End) Settle(r *Run) {
	r.Ended = time.Now().UTC()
	if !e.Started.IsZero() {
		r.Started = e.Started.UTC()
		r.Ended = r.Started.Add(e.Took) // of one clock that does not jump
	}
	r.Message, r.Unlogged = e.Message, e.Unlogged
	if e.Signal > 0 {
		r.Signal = e.Signal
	} else if e.ExitCode >= 0 {
		r.ExitCode = &e.ExitCode
	}
	switch {
	case e.Cancelled:
		r.Status, r.Reason = RunCancelled, ""
	case e.Reason != "":
		r.Status, r.Reason = RunFailed, e.Reason
	case e.Signal > 0:
		r.Status, r.Reason = RunFailed, ReasonSignal
	case e.ExitCode != 0:
		r.Status, r.Reason = RunFailed, ReasonExit
	default:
		r.Status, r.Reason, r.Outputs = RunSucceeded, "", e.Outputs
	}
	if r.Status == RunFailed && e.Entry >= 0 {
		r.Entry = &e.Entry
	}
}
