package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/plan"
)

// A story tells a run on stderr, line by line:
//
//	step.fetch    remembered, took 2.1s
//	step.build    started
//	step.build    | cc -O2 -c main.c
//	step.build    done in 840ms
//
// On a terminal, what is going on now stands below the lines (live.go). Steps
// that fail are told again at the end, with the place in the formula and the end
// of their logs. It is safe for concurrent use.
type story struct {
	mu     sync.Mutex
	out    io.Writer
	color  bool
	quiet  bool // tell failures only
	width  int  // of the widest address, for alignment
	clock  func() time.Time
	live   *live // nil if stderr is no terminal
	files  map[string]*hcl.File
	buf    bytes.Buffer // lines not written yet
	active []*activity  // what is going on, in the order it began
	total  int          // steps selected
	ended  int
	stop   chan struct{}
	why    map[string]string // by address: see because
	// patience is how long something goes on before the live view shows it.
	patience time.Duration
}

// An activity is a step that runs or a ware that is being fetched.
type activity struct {
	name        string
	doing       string
	since       time.Time
	done, total int64 // bytes; total -1: not known, 0: nothing to count
	speed       speedometer
}

// maxAlign is how wide an address may be before it is no longer aligned.
const maxAlign = 32

// newStory begins to tell. The caller ends it with close.
func (a *app) newStory(quiet bool) *story {
	s := &story{out: a.stderr, color: a.colored(), quiet: quiet, clock: time.Now, stop: make(chan struct{})}
	if f := a.terminal(); f != nil && !quiet {
		s.live = newLive(f)
		go s.tick()
	}
	return s
}

// close takes the live view off the terminal and writes what is left.
func (s *story) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live != nil {
		close(s.stop)
		s.active = nil
		s.flush()
		s.live.close()
		s.live = nil
	}
	s.flush()
}

// tick keeps the live view current.
func (s *story) tick() {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			s.mu.Lock()
			s.flush()
			s.mu.Unlock()
		}
	}
}

// calm gives the cursor back: the next signal ends kiln without asking it.
func (s *story) calm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live != nil {
		s.live.showCursor()
	}
}

// Write adds whole lines that others have to tell.
func (s *story) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Write(p)
	s.flush()
	return len(p), nil
}

// flush writes the lines that are due, above the live view if there is one.
func (s *story) flush() {
	if s.live != nil {
		s.live.write(s.buf.Bytes(), s.status())
	} else if s.buf.Len() > 0 {
		s.out.Write(s.buf.Bytes())
	}
	s.buf.Reset()
}

// expect says which steps will be told of, and the files to show lines of.
func (s *story) expect(steps []*plan.Step, files map[string]*hcl.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total, s.files = max(s.ended, len(steps)), files
	for _, st := range steps {
		s.width = max(s.width, min(len(st.Addr), maxAlign))
	}
}

// because says why steps run that ran before, by address.
func (s *story) because(why map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why = why
}

// event takes one event of the run. It is an exec.Options.Observe.
func (s *story) event(e exec.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr := e.Step.Addr
	switch e.Kind {
	case exec.StepRemembered:
		s.ended++
		s.line(addr, dim, "remembered"+by(e.Origin)+took(e.Duration))
	case exec.StepForgotten:
		s.ended--
		s.line(addr, plain, "what it made is gone from the warehouse that remembers it")
	case exec.StepStarted:
		s.active = append(s.active, &activity{name: addr, doing: "running", since: s.clock()})
		s.line(addr, plain, strings.TrimSuffix("started: "+s.why[addr], ": "))
	case exec.StepLog:
		s.log(addr, e.Line)
	case exec.StepPacking:
		if act := s.find(addr); act != nil {
			act.doing = "packing"
		}
	case exec.StepDone:
		s.end(addr)
		s.line(addr, green, "done in "+seconds(e.Duration))
	case exec.StepFailed:
		s.end(addr)
		s.urgent(addr, red, "failed"+after(e.Duration)+": "+what(e.Err))
	case exec.StepSkipped:
		word := "skipped"
		if s.find(addr) != nil {
			word = "cancelled"
		}
		s.end(addr)
		s.line(addr, dim, word)
	}
	// Thousands of steps may be remembered at once, and the live view is drawn by
	// tick: nobody reads faster.
	if (s.live != nil || e.Kind == exec.StepRemembered) && s.buf.Len() < 32<<10 {
		return
	}
	s.flush()
}

// progress takes how far a ware has come. It is a plan.ResolveOptions.Progress.
func (s *story) progress(p plan.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	act := s.find(p.Ware)
	switch {
	case p.End && act != nil:
		s.drop(act)
		fallthrough
	case p.End:
		if p.Phase == plan.PhaseFetch && p.Err == nil {
			s.line(p.Ware, plain, "fetched")
			s.flush()
		}
		return
	case act == nil:
		act = &activity{name: p.Ware, since: s.clock()}
		s.active = append(s.active, act)
	}
	act.doing, act.done, act.total = phaseWord(p.Phase), p.Done, p.Total
	if p.Phase == plan.PhaseFetch {
		act.speed.at(p.Done, s.clock())
	}
}

// pushing tells how many steps are left to be pushed to other warehouses.
func (s *story) pushing(left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const name = "other warehouses"
	act := s.find(name)
	switch {
	case left == 0 && act != nil:
		s.drop(act)
	case left > 0 && act == nil:
		act = &activity{name: name, since: s.clock()}
		s.active = append(s.active, act)
		fallthrough
	case left > 0:
		act.doing = "pushing " + count(left, "step")
	}
}

// asking tells that other warehouses are asked what they remember, until end is called.
func (s *story) asking() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	act := &activity{name: "other warehouses", doing: "asking", since: s.clock()}
	s.active = append(s.active, act)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.drop(act)
	}
}

// again tells that steps whose results cannot be had are run after all.
func (s *story) again(r exec.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended -= len(r.Steps)
}

// exporting tells that an output is being exported: how many bytes were written, and
// that it is over.
func (s *story) exporting(name string) (progress func(int64), end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	act := &activity{name: name, doing: "exporting", since: s.clock()}
	s.active = append(s.active, act)
	progress = func(n int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		act.done, act.total = n, -1
	}
	return progress, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.drop(act)
	}
}

func phaseWord(p plan.Phase) string {
	switch p {
	case plan.PhaseScan:
		return "scanning"
	case plan.PhaseFetch:
		return "fetching"
	case plan.PhaseUnpack:
		return "unpacking"
	}
	return "storing"
}

func (s *story) find(name string) *activity {
	for _, act := range s.active {
		if act.name == name {
			return act
		}
	}
	return nil
}

func (s *story) drop(act *activity) {
	for i := range s.active {
		if s.active[i] == act {
			s.active = append(s.active[:i], s.active[i+1:]...)
			return
		}
	}
}

func (s *story) end(addr string) {
	s.ended++
	if act := s.find(addr); act != nil {
		s.drop(act)
	}
}

// line adds a line about a step or ware.
func (s *story) line(name string, c paint, text string) {
	if !s.quiet {
		s.urgent(name, c, text)
	}
}

// urgent is line even when only failures are told.
func (s *story) urgent(name string, c paint, text string) {
	s.prefix(name)
	s.buf.WriteString(c.on(s.color, harmless(text, false)))
	s.buf.WriteByte('\n')
}

func (s *story) prefix(name string) {
	fmt.Fprintf(&s.buf, "%-*s  ", s.width, harmless(name, false))
}

// log adds a line that a step wrote. A carriage return in it, as progress bars
// have it, starts a new line: overwriting would hide what was there.
func (s *story) log(addr string, line []byte) {
	if s.quiet {
		return
	}
	for part := range bytes.SplitSeq(bytes.TrimRight(line, "\r"), []byte{'\r'}) {
		s.prefix(addr)
		s.buf.WriteString(dim.on(s.color, "|") + " ")
		s.buf.WriteString(harmless(string(part), s.color))
		s.buf.WriteByte('\n')
	}
}

func took(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return ", took " + seconds(d)
}

func after(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return " after " + seconds(d)
}

// seconds shows a duration as people read it: 8ms, 1.25s, 12.3s, 2m03s, 1h02m.
func seconds(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", (d+time.Millisecond/2)/time.Millisecond)
	case d < 10*time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// by says who remembers a step, if it is not this machine.
func by(origin string) string {
	if origin == "" {
		return ""
	}
	return " by " + origin
}
