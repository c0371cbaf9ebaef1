// Package delegate is how runners run a command in an environment that is not kiln's:
// they start kiln itself there, as "kiln helper PAYLOAD", and it does the rest. A
// Payload says what, a Result how it went; package inside is what the helper does.
// What container, on which machine, and how the two reach each other is the business
// of each runner.
//
// The helper makes the environment what a step finds in a container of kiln's: it
// brings the inputs to their ports, lays out the script, starts the command with its
// environment and nothing else, ends every process that is left, packs the outputs and
// sends them to a warehouse. It writes nothing on stdout and stderr, which are the
// command's, unless it cannot deliver a result. What the command writes passes through it,
// up to the run's limit: what keeps a container's log is rarely kiln's, and has other limits.
package delegate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/warehouse"
)

// Where the helper finds things, and keeps them. Dir must be writable: a volume that the
// runner mounts, or a directory of the image. It holds the script, as in containers of
// kiln's; so it is in every step's root.
const (
	Dir         = bundle.ScriptDir
	HelperPath  = Dir + "/helper"       // where runners put the helper's executable
	PayloadPath = Dir + "/payload.json" // where runners put a payload that is a file
	ResultPath  = Dir + "/result.json"
	InputsDir   = Dir + "/in"        // what arrives and has to be copied to its port
	Warehouse   = Dir + "/warehouse" // a local warehouse of the helper's own
)

// Verb is kiln's verb that is the helper. "kiln helper Install PATH" copies the executable
// to PATH, for a container whose image does not have it.
const (
	Verb    = "helper"
	Install = "install"
)

// A Payload says what a helper is to do. Nothing in it is secret: what the helper needs
// to be let into a warehouse comes in its environment, which the command does not get.
type Payload struct {
	Version int          `json:"version"` // 1
	Run     string       `json:"run"`     // id
	Spec    exec.JobSpec `json:"spec"`
	// Arrived says of inputs by their ports where they lie already: at the port itself,
	// mounted or in the image, or at a path to be copied from. Others are fetched.
	Arrived map[string]string `json:"arrived,omitempty"`
	// Frozen are ports of read-only inputs that lie where the command could write.
	Frozen  []string `json:"frozen,omitempty"`
	Sources []string `json:"sources,omitempty"` // URLs of warehouses to fetch from, the first first
	// Sink is the URL of the warehouse that outputs are sent to. "": they stay in
	// Warehouse, for the runner to take.
	Sink string `json:"sink,omitempty"`
	// Result is where the result goes, a file that is made or written to; "": ResultPath.
	Result string `json:"result,omitempty"`
	// ResultLimit is how many bytes it may have there, 0: any number. One that is larger is
	// sent to Sink as a ware, and what is written says which: see Decode.
	ResultLimit int `json:"result_limit,omitempty"`
	// Hidden are paths that are in the root because of the environment, and are no part
	// of an output.
	Hidden []string `json:"hidden,omitempty"`
	// Points are directories of the root over which the environment has mounted something, and
	// the modes that they have in the root; of an output they are a part, and empty.
	// The root itself is given its mode if it is among them.
	Points map[string]uint32 `json:"points,omitempty"`
	// Files are files that the environment has put into the root, and what to write to them.
	Files   map[string][]byte `json:"files,omitempty"`
	Timeout time.Duration     `json:"timeout,omitempty"` // nanoseconds from the helper's start to the command's end; 0: none
	Grace   time.Duration     `json:"grace,omitempty"`   // from SIGTERM to SIGKILL; 0: DefaultGrace
	Network Network           `json:"network,omitempty"`
	// Merge gives the command one pipe for stdout and stderr: an environment that keeps both in
	// one log would mix up what comes to it by two.
	Merge bool `json:"merge,omitempty"`
	// Confine has the helper keep the command from system calls as a container of kiln's does,
	// where the runner had the environment not do so.
	Confine bool `json:"confine,omitempty"`
	// Owned says that the runner counts on files of its machine that are mounted here
	// being the helper's own.
	Owned bool `json:"owned,omitempty"`
}

// DefaultGrace is how long a command that was asked to end may take, as in containers
// of kiln's.
const DefaultGrace = 5 * time.Second

// HelperPIDs is how many processes and threads a runner allows on top of what the command
// is limited to: the helper's own, who does nothing while the command runs.
const HelperPIDs = 32

// A Network says what the helper does to keep a command offline.
type Network string

// What it can do. Whatever it does, the Result says what it found.
const (
	NetworkAsIs    Network = ""        // nothing: the environment does, or nobody
	NetworkTry     Network = "try"     // a network namespace where that is permitted
	NetworkRequire Network = "require" // the same, and where it is not, the command does not run
)

// version is that of payloads and results: docs/formats.md, "Delegation".
const version = 1

// Encode returns the payload as JSON.
func (p Payload) Encode() ([]byte, error) {
	p.Version = version
	return json.Marshal(p)
}

// maxArg is less than what Linux takes as one argument: 32 pages, MAX_ARG_STRLEN.
const maxArg = 96 << 10

// Args returns what follows "kiln" for a helper that is given the payload on its command
// line, cut up where it is too long for one argument. All arguments together have to
// share the kernel's 2 MiB with the environment; the error says so.
func (p Payload) Args() ([]string, error) {
	text, err := p.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode payload: %w", err)
	}
	if len(text) > 1<<20 {
		return nil, fmt.Errorf("encode payload: %d bytes are too many for a command line", len(text))
	}
	args := []string{Verb}
	for len(text) > maxArg {
		args, text = append(args, string(text[:maxArg])), text[maxArg:]
	}
	return append(args, string(text)), nil
}

// Parse reads the arguments of the helper: a payload, in one or more pieces, or "@" and
// the path of a file that holds it.
func Parse(args []string) (Payload, error) {
	text := []byte(strings.Join(args, ""))
	if path, ok := strings.CutPrefix(string(text), "@"); ok {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return Payload{}, fmt.Errorf("read payload: %w", err)
		}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var p Payload
	if err := dec.Decode(&p); err != nil {
		return Payload{}, fmt.Errorf("read payload: %w", err)
	}
	if p.Version != version {
		return Payload{}, fmt.Errorf("read payload: it is of version %d, and this kiln reads %d", p.Version, version)
	}
	return p, nil
}

// A Result says how a helper fared. It has ended by then, and every process with it.
type Result struct {
	Version  int            `json:"version"` // 1
	Run      string         `json:"run"`     // id
	Status   exec.RunStatus `json:"status"`  // a final one
	Reason   exec.RunReason `json:"reason,omitempty"`
	Message  string         `json:"message,omitempty"`
	Started  time.Time      `json:"started,omitzero"` // by the clock of the helper's machine
	Ended    time.Time      `json:"ended,omitzero"`
	ExitCode *int           `json:"exit_code,omitempty"`
	Signal   int            `json:"signal,omitempty"`
	Entry    *int           `json:"entry,omitempty"`

	Outputs map[string]warehouse.WareID `json:"outputs,omitempty"`
	Offline exec.Offline                `json:"offline"`
	Placed  string                      `json:"placed,omitempty"` // how inputs came to their ports: "mounted", "copied", or both

	// Logged is how many bytes of stdout and of stderr the environment was given to keep, and
	// Unlogged how many of the command's it was not.
	Logged   [2]int64 `json:"logged,omitzero"`
	Unlogged int64    `json:"unlogged,omitempty"`

	// Ware is set in place of all but Version and Run where the result was too large:
	// that of a file which holds it.
	Ware warehouse.WareID `json:"ware,omitzero"`
}

// Decode reads the result of a run. That of another run, as an earlier one may have left
// it, is an error.
func Decode(text []byte, run string) (Result, error) {
	var r Result
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read result of run %s: %w", run, err)
	}
	if r.Version != version {
		return r, fmt.Errorf("read result of run %s: it is of version %d, and this kiln reads %d", run, r.Version, version)
	}
	if r.Run != run {
		return r, fmt.Errorf("read result of run %s: what is there is of run %q", run, r.Run)
	}
	if r.Ware.IsZero() && !r.Status.Ended() {
		return r, fmt.Errorf("read result of run %s: status %q is none of a run that has ended", run, r.Status)
	}
	return r, nil
}

// ExitStatus is the exit status of the helper, for people who look at the container: as
// that of kiln exec.
func (r Result) ExitStatus() int {
	switch {
	case r.Status == exec.RunSucceeded:
		return 0
	case r.Status == exec.RunCancelled:
		return 130
	case r.Reason == exec.ReasonTimeout:
		return 124
	case r.Signal > 0:
		return 128 + r.Signal
	case r.ExitCode != nil && *r.ExitCode > 0:
		return *r.ExitCode
	}
	return 1
}

// Apply puts what the result says into the record of its run.
func (r Result) Apply(run *exec.Run) {
	run.Status, run.Reason, run.Message = r.Status, r.Reason, r.Message
	run.Started, run.Ended = r.Started, r.Ended
	run.ExitCode, run.Signal, run.Entry = r.ExitCode, r.Signal, r.Entry
	run.Outputs, run.Offline, run.Unlogged = r.Outputs, r.Offline, r.Unlogged
}
