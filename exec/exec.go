// Package exec runs the steps of a plan, each in a container of its own, and
// turns what they leave behind into wares. It opens no connection: a ware that
// is not in the local warehouse is an error here.
package exec

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// Options says how a plan is run.
type Options struct {
	Warehouse *warehouse.Local
	Memos     *warehouse.Memos
	Shared    plan.Shared                        // memos and wares of other machines; nil: plan.Alone
	Made      func(Made)                         // called when a step has ended well and its memo is durable; may be nil
	Jobs      int                                // steps running at once; 0: one per core
	KeepGoing bool                               // after a failure, run what does not depend on it
	Force     bool                               // run steps although they are remembered
	Targets   []string                           // step addresses; with what they need. Empty: all steps
	Observe   func(Event)                        // called from one goroutine, in order; may be nil
	Version   string                             // of kiln, for memos
	Binaries  func() (container.Binaries, error) // called when the first step must run
	MaxPIDs   uint64                             // processes a run may have at once; 0: DefaultMaxPIDs
	Runners   Runners                            // for steps that run elsewhere
	Allow     Allowed                            // what a step that asks for it gets
	FormulaID func(plan.Resolved) string         // warpforge's id of a step, for memos; may be nil

	// Earlier are the outputs of steps that have ended well just before, in the run
	// that this one is a part of, by key. They are not run, told or counted again.
	Earlier map[warehouse.StepKey]map[string]warehouse.WareID
}

// Made is a step that has ended well, for who shares it with other machines.
type Made struct {
	Step *plan.Step
	Memo warehouse.Memo
}

// Allowed is what the person consents to that a step can ask for.
type Allowed struct {
	Network bool // this machine's network
	Mount   bool // paths of this machine
	// Unlimited lets steps run whose limits this machine cannot enforce.
	Unlimited bool
}

// DefaultMaxPIDs is how many processes a run may have unless Options say otherwise:
// far above what a build needs. Where that is more than a quarter of those the
// machine can have, it is that quarter: two steps that fork without end must leave
// enough for the person to end them.
const DefaultMaxPIDs = 4096

// EventKind says what happened to a step.
type EventKind int

// What can happen to a step, in the order it can happen.
const (
	StepRemembered EventKind = iota // its memo holds: Outputs is set
	StepStarted                     // its process is about to start
	StepLog                         // it wrote Line
	StepPacking                     // its process ended well, outputs are being packed
	StepDone                        // Outputs and Duration are set
	StepFailed                      // Err is a *StepError
	StepSkipped                     // something it needs failed, or the run was cancelled
	StepForgotten                   // it was told as remembered, but what it made is gone: it runs after all
)

// An Event is one thing that happened to one step.
type Event struct {
	Kind     EventKind
	Step     *plan.Step
	Time     time.Time
	Duration time.Duration // StepDone, StepFailed: of the step's process; StepRemembered: of the run remembered
	Line     []byte        // StepLog: without the newline, at most 16 KiB; only valid during the call
	Outputs  map[string]warehouse.WareID
	Origin   string // StepRemembered: the warehouse that remembers it; "": this machine's
	Err      error
}

// Failure says in which way a step failed; exit codes tell them apart.
type Failure int

// The ways a step can fail.
const (
	FailedExit    Failure = iota // exit code not 0
	FailedSignal                 // ended by a signal
	FailedTimeout                // took longer than its timeout
	FailedOutput                 // an output is missing or cannot be a ware
	FailedSetup                  // the container could not be made or the command not started
	FailedInput                  // a ware it needs is missing or was changed on disk
	FailedMemory                 // the kernel ended a process of it for want of memory, as resources allow no more
	FailedCall                   // a function failed, or what it gave is not as it must be; Err is of package exec/function
)

// A StepError says why a step failed and where it was written.
type StepError struct {
	Step     *plan.Step
	Failure  Failure
	ExitCode int      // FailedExit
	Signal   int      // FailedSignal
	Entry    int      // script: index from 0 of the entry that failed, or -1
	Output   string   // FailedOutput: the output's name
	Port     string   // FailedInput: the input's port, if it is about one
	Tail     []string // last lines of its log, oldest first, at most 20
	Err      error    // the cause, for what is neither exit code nor signal
}

// A Result is what a run produced.
type Result struct {
	Outputs    map[string]warehouse.WareID // by output name of the formula; only those known
	Steps      map[string]map[string]warehouse.WareID
	Ran        int // steps that ran well
	Remembered int
	Failed     []*StepError
	Skipped    int
}

// ErrFailed says that at least one step failed.
var ErrFailed = errors.New("a step failed")

// Error says which step failed and how, without its log.
func (e *StepError) Error() string { return e.Step.Addr + ": " + e.What() }

// What says what happened, without the step's name: "exited with code 2 in script
// entry 1", "output lib: the step did not make /out".
func (e *StepError) What() string {
	var text string
	switch e.Failure {
	case FailedExit:
		text = fmt.Sprintf("exited with code %d", e.ExitCode)
	case FailedSignal:
		text = fmt.Sprintf("was ended by signal %d (%s)", e.Signal, unix.SignalName(unix.Signal(e.Signal)))
	case FailedTimeout:
		text = fmt.Sprintf("took longer than its timeout of %s", e.Step.Timeout)
	default:
		return fmt.Sprint(e.Err)
	}
	if e.Entry >= 0 {
		text += fmt.Sprintf(" in script entry %d", e.Entry+1)
	}
	return text
}

// Unwrap returns the cause, if there is one.
func (e *StepError) Unwrap() error { return e.Err }
