package plan

import (
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// A State is what a run would do with a step.
type State string

// The states of a step before a run.
const (
	StateRemembered State = "remembered" // its memo holds
	StateRun        State = "run"        // it would run, for the reasons given
	StateWait       State = "wait"       // its key depends on what other steps will make
)

// ReasonKind says what a Reason is about. The values are stable: they are in the
// output of kiln plan --json.
type ReasonKind string

// The kinds of reason. From ReasonInput on, something differs from the last time
// that the step ended well.
const (
	ReasonFirst    ReasonKind = "first-time"   // nothing is known of an earlier run here
	ReasonForced   ReasonKind = "forced"       // asked for
	ReasonNoMemo   ReasonKind = "memo-gone"    // nothing changed, but the memo is not there
	ReasonWareGone ReasonKind = "ware-gone"    // Name's ware Old is not in the warehouse
	ReasonOpen     ReasonKind = "not-hermetic" // it uses the network or something of this machine
	ReasonWait     ReasonKind = "wait"         // Name, a step, has to run first
	ReasonInput    ReasonKind = "input"        // Name is a port
	ReasonEnv      ReasonKind = "env"          // Name is a variable
	ReasonScript   ReasonKind = "script"       // Name is an entry, counted from 1
	ReasonExec     ReasonKind = "exec"         // the command
	ReasonInterp   ReasonKind = "interpreter"  // of the script
	ReasonCall     ReasonKind = "call"         // Name is "input", "schema_in" or "schema_out"
	ReasonOutput   ReasonKind = "output"       // Name is an output
	ReasonCwd      ReasonKind = "cwd"
	ReasonUser     ReasonKind = "user"
	ReasonWorld    ReasonKind = "world" // kiln's fixed world is another one
	ReasonOther    ReasonKind = "other" // the key differs, and what it was made of is not known
)

// A Reason is one cause why a step would not be remembered.
type Reason struct {
	Kind ReasonKind `json:"kind"`
	Name string     `json:"name,omitempty"`
	Old  string     `json:"old,omitempty"` // "": there was none, or it is not shown
	New  string     `json:"new,omitempty"`
	Text string     `json:"text"` // for people

	// Files are some of the files in which a path ware differs, at most five. None
	// are known if the ware that was used last time is gone from the warehouse.
	Files []pack.Change `json:"files,omitempty"`
}

// Why is e's reasons on one line, for people; the first ones if there are many.
func (e *Explanation) Why() string {
	var texts []string
	for i, r := range e.Reasons {
		if i == maxReasons && len(e.Reasons) > maxReasons+1 {
			texts = append(texts, fmt.Sprintf("and %d more", len(e.Reasons)-i))
			break
		}
		texts = append(texts, r.Text)
	}
	return strings.Join(texts, "; ")
}

// maxReasons is how many reasons fit a line that is read.
const maxReasons = 4

// Short returns a ware id with at most 12 characters of its hash, for people.
func Short(id warehouse.WareID) string { return shortText(id.String()) }

func shortText(id string) string {
	packtype, hash, _ := strings.Cut(id, ":")
	if len(hash) <= 12 {
		return id
	}
	return packtype + ":" + hash[:12] + "…"
}
