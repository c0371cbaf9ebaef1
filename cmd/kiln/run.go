package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

const runHelp = `Run the steps of a formula that are not remembered, and print each output of the
formula as NAME = WAREID.

Sources are resolved and fetched first; from then on everything is offline. Each
step runs in a container of its own and sees its inputs and nothing else. What it
made is kept under its step key, the hash of all that can change the result, and
a step whose key is known does not run again.

With -o NAME=DEST, an output is also exported, when all steps have ended well.
DEST is one of:

` + destinationHelp + `

With DIR/..., every formula and every warpforge document in DIR and below is run,
one after the other, and its directory is printed before each output.

With -t, only the steps named and what they need are run, and their own outputs
are printed as STEP.NAME = WAREID.`

// runFlags are the flags of kiln run.
type runFlags struct {
	planFlags
	targets   []string
	exports   exportFlags
	jobs      int
	keepGoing bool
	force     bool
	quiet     bool
	asJSON    bool
	format    string
	allow     allowFlag
	runner    string    // where all steps run; "": where each says
	lines     *runLines // with format, while it runs
	recursive bool
	replayed  map[string]bool // with recursive: the files that were run, or are being run
}

func newRunCmd(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [FILE|DIR|DIR/...]",
		Short: "Run a formula's steps and print its outputs",
		Long:  runHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.parse(args)
			return a.each(f.path, f.keepGoing, func(path string) error {
				one := f
				one.path = path
				return a.run(cmd.Context(), &one)
			})
		},
	}
	f.add(cmd)
	targetFlag(cmd, &f.targets)
	flags := cmd.Flags()
	f.exports.add(flags)
	flags.IntVarP(&f.jobs, "jobs", "j", 0, "steps that run at once; 0: one per core")
	flags.BoolVarP(&f.keepGoing, "keep-going", "k", false, "after a failure, run what does not depend on it")
	flags.StringVar(&f.runner, "runner", "", "the `RUNNER` where all steps run (see kiln runners)")
	flags.BoolVar(&f.force, "force", false, "run steps although they are remembered")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "tell only about failures")
	jsonFlag(cmd, &f.asJSON)
	flags.StringVar(&f.format, "format", "", "warpforge: print what warpforge prints with --json, an object a line as it happens")
	f.allow.add(cmd)
	flags.BoolVarP(&f.recursive, "recursive", "r", false, "make wares that catalogs name by their replays, rather than fetch them")
	return cmd
}

func (a *app) run(ctx context.Context, f *runFlags) error {
	if f.format != "" && f.format != "warpforge" || f.format != "" && f.asJSON {
		return fmt.Errorf("option --format %s: want warpforge, and not with --json", f.format)
	}
	if f.jobs < 0 {
		return fmt.Errorf("--jobs %d: want a number from 0 on", f.jobs)
	}
	if f.runner != "" {
		if err := isForSteps(f.runner); err != nil {
			return err
		}
	}
	exports, err := f.exports.parse(f)
	if err != nil {
		return err
	}
	tale := a.newStory(f.quiet)
	defer tale.close()
	defer context.AfterFunc(ctx, tale.calm)()
	defer a.tellThrough(tale)()

	f.anew = f.force
	s, err := a.openSession(ctx, &f.planFlags)
	if err != nil {
		return err
	}
	defer s.close()
	if err := a.replay(ctx, s, f, tale); err != nil {
		return err
	}
	if f.format != "" {
		if f.lines, err = newRunLines(a.stdout, s); err != nil {
			return err
		}
	}
	began := time.Now()
	result, err := a.runRounds(ctx, s, f, exports, tale)
	if result.Steps == nil {
		return runError(result, err)
	}
	named, namedErr := s.plan.Named(f.targets)
	if err == nil {
		err = namedErr
	}
	if err == nil || errors.Is(err, exec.ErrFailed) {
		tale.finish(a, result, time.Since(began))
		if !f.quiet {
			s.tellFormulaIDs(a, result)
		}
	}
	if saveErr := s.remember(a, result); err == nil && saveErr != nil {
		err = saveErr
	}
	var images map[string]warehouse.WareID
	if err == nil {
		images, err = a.exportOutputs(ctx, s, result, exports, &f.exports, tale)
	}
	tale.close()
	switch {
	case f.lines != nil:
		if printErr := f.lines.finish(result); printErr != nil {
			return printErr
		}
	case f.asJSON && (err == nil || errors.Is(err, exec.ErrFailed)):
		if printErr := a.printJSON(s.runDocument(result, images)); printErr != nil {
			return printErr
		}
	case err == nil:
		printOutputs(a.outputsTo(exports), s.plan, result, named, images)
	}
	return runError(result, err)
}

// remember keeps what the steps that ended were made of, for kiln plan to explain, and
// that they were used, for kiln gc to keep. The former is a cache: where it cannot be
// written, that is a warning.
func (s *session) remember(a *app, r exec.Result) error {
	s.shared.Flush()
	saved, err := s.history.Save(s.plan, s.memos, plan.MadeBy(r.Steps), func(st *plan.Step) bool {
		_, ok := r.Steps[st.Addr]
		return ok
	})
	switch {
	case err != nil && saved.Digest == "":
		return err
	case err != nil:
		fmt.Fprintln(a.stderr, "warning:", err)
	}
	return s.noteUse(saved)
}

// tellThrough makes all that goes to stderr part of the story until the function
// it returns is called.
func (a *app) tellThrough(s *story) func() {
	old, tty := a.stderr, a.tty
	a.tty = a.terminal()
	a.stderr, a.observe = s, s.progress
	return func() { a.stderr, a.observe, a.tty = old, nil, tty }
}

func binaries() (container.Binaries, error) {
	executor, err := embedded.Executor()
	if err != nil {
		return container.Binaries{}, err
	}
	enter, err := embedded.Enter()
	return container.Binaries{Executor: executor, Enter: enter}, err
}

// runError gives the error of a run its exit code. Steps that failed were told.
func runError(r exec.Result, err error) error {
	var refused *container.Refused
	switch {
	case errors.As(err, &refused):
		return withCode(codeSandbox, err)
	case !errors.Is(err, exec.ErrFailed):
		return err
	}
	return told(withCode(failedCode(r.Failed), err))
}

// failedCode is the exit code for steps that failed: what they have in common.
func failedCode(failed []*exec.StepError) int {
	codes := map[int]bool{}
	for _, e := range failed {
		switch {
		case e.Failure == exec.FailedTimeout:
			codes[codeTimedOut] = true
		case errors.Is(e, pack.ErrCorrupt):
			codes[codeMismatch] = true
		case errors.Is(e, warehouse.ErrMissing):
			codes[codeMissing] = true
		default:
			codes[codeStepFailed] = true
		}
	}
	for code := range codes {
		if len(codes) == 1 {
			return code
		}
	}
	return codeStepFailed
}

// printOutputs prints the formula's outputs that are known, in the order written, and
// those of the targets.
func printOutputs(w io.Writer, p *plan.Plan, r exec.Result, named []*plan.Step, images map[string]warehouse.WareID) {
	for _, o := range p.Formula.Outputs {
		if id, ok := r.Outputs[o.Name]; ok {
			fmt.Fprintf(w, "%s = %s\n", o.Name, id)
		}
		if id, ok := images[o.Name]; ok {
			fmt.Fprintf(w, "%s.image = %s\n", o.Name, id)
		}
	}
	for _, st := range named {
		for _, o := range st.Outputs {
			if id, ok := r.Steps[st.Addr][o.Name]; ok {
				fmt.Fprintf(w, "%s.%s = %s\n", st.Addr, o.Name, id)
			}
		}
	}
}

// A runDoc is what kiln run --json prints.
type runDoc struct {
	Outputs    map[string]warehouse.WareID            `json:"outputs"`
	Images     map[string]warehouse.WareID            `json:"images,omitempty"` // made for -o, by output
	Steps      map[string]map[string]warehouse.WareID `json:"steps"`
	Ran        int                                    `json:"ran"`
	Remembered int                                    `json:"remembered"`
	Skipped    int                                    `json:"skipped"`
	Failed     []failedDoc                            `json:"failed"`
	Hermetic   bool                                   `json:"hermetic"`              // false: a step used the network, or mounted something of this machine
	Open       []string                               `json:"open"`                  // those steps
	FormulaIDs map[string]string                      `json:"formula_ids,omitempty"` // warpforge's, by step
}

type failedDoc struct {
	Step     string   `json:"step"`
	Error    string   `json:"error"`
	ExitCode int      `json:"exit_code,omitempty"`
	Signal   int      `json:"signal,omitempty"`
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Tail     []string `json:"tail,omitempty"`
}

func (s *session) runDocument(r exec.Result, images map[string]warehouse.WareID) runDoc {
	doc := runDoc{
		Outputs: r.Outputs, Images: images, Steps: r.Steps, Ran: r.Ran, Remembered: r.Remembered, Skipped: r.Skipped,
		Failed: []failedDoc{}, FormulaIDs: s.formulaIDs(r.Steps),
	}
	ran := map[string]bool{}
	for addr := range r.Steps {
		ran[addr] = true
	}
	for _, e := range r.Failed {
		ran[e.Step.Addr] = true
		at := failedAt(e)
		doc.Failed = append(doc.Failed, failedDoc{e.Step.Addr, e.Error(), e.ExitCode, e.Signal, at.Filename, at.Start.Line, e.Tail})
	}
	doc.Open = openSteps(s.plan, ran)
	doc.Hermetic = len(doc.Open) == 0
	return doc
}
