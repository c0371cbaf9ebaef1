package exec

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

// A Runner runs commands in one kind of environment: this machine, containers of
// kiln's own, Docker, Kubernetes. What it runs it keeps in a registry of runs on this
// machine, so that any kiln process can find it again, and a run outlives the process
// that submitted it where the environment allows. All runners pass the suite in package
// exectest. Methods are safe for concurrent use, also by several processes.
type Runner interface {
	// Check says why nothing can be run in the environment from here and now, or nil:
	// what was tried, what happened, what to do. It starts no run.
	Check(ctx context.Context) error

	// Submit starts a run and returns once the environment has taken it: it may be
	// pending for long. The error is about the specification, or the environment
	// being out of reach; a command that cannot be started is a failed run.
	Submit(ctx context.Context, spec JobSpec) (Run, error)

	// Wait returns the run once it has ended, however that went. The error matches
	// ErrNoRun when there is none with this id; when ctx ends, the run goes on.
	Wait(ctx context.Context, id string) (Run, error)

	// GetRun returns a run as it is now.
	GetRun(ctx context.Context, id string) (Run, error)

	// Cancel asks a run to end and returns when it has ended: its processes get SIGTERM
	// and after a grace of a few seconds SIGKILL. Of a run that has ended already
	// nothing changes, and that is no error.
	Cancel(ctx context.Context, id string) (Run, error)

	// ListRuns returns the runs of this runner that f lets through, oldest first.
	ListRuns(ctx context.Context, f RunFilter) ([]Run, error)

	// Logs writes what the run has written so far, and with follow what it goes on to
	// write until it ends. Either writer may be nil. An environment that does not keep
	// stdout and stderr apart writes both to stdout.
	Logs(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error
}

// ErrNoRun says that there is no run of an id.
var ErrNoRun = errors.New("no such run")

// ErrUnsupported says that a runner cannot do what a specification asks for. The error
// that matches it names what, and why.
var ErrUnsupported = errors.New("not supported by this runner")

// A JobSpec says what to run. Nothing in it depends on the environment; what a runner
// cannot do as it is asked for is an error of Submit, never left out.
type JobSpec struct {
	Name    string   `json:"name"`              // for people; not unique
	Command []string `json:"command,omitempty"` // argv; with Script the interpreter's
	// Script are entries that one interpreter runs in order, as a step's script.
	Script   []string `json:"script,omitempty"`
	Continue bool     `json:"continue,omitempty"` // entries after one that fails run too
	Env      []string `json:"env,omitempty"`      // NAME=VALUE, the whole environment; NAME in the record of a run that has ended
	Dir      string   `json:"dir,omitempty"`      // absolute; "": "/"
	User     string   `json:"user,omitempty"`     // "uid" or "uid:gid", decimal; "": "0:0"

	// What the command sees as "/": a ware, or an image as the environment names
	// them. The local runner takes neither, others want one of them.
	Root  warehouse.WareID `json:"root,omitzero"`
	Image string           `json:"image,omitempty"`

	Inputs    []JobInput        `json:"inputs,omitempty"`  // besides Root, sorted by port
	Outputs   []JobOutput       `json:"outputs,omitempty"` // packed when the command has ended well
	Mounts    []JobMount        `json:"mounts,omitempty"`  // of the environment's machine
	Resources Resources         `json:"resources,omitzero"`
	Network   bool              `json:"network,omitempty"` // it may use the environment's network
	Timeout   time.Duration     `json:"timeout,omitempty"` // nanoseconds, from Submit to the command's end; 0: none
	Labels    map[string]string `json:"labels,omitempty"`
	LogLimit  int64             `json:"log_limit,omitempty"` // bytes kept of stdout, and of stderr, before only their ends are; 0: all
}

// A JobInput is a ware at an absolute path.
type JobInput struct {
	Port    string           `json:"port"`
	Ware    warehouse.WareID `json:"ware"`
	Mode    formula.Mode     `json:"mode"`              // ro or overlay
	Filters string           `json:"filters,omitempty"` // unpack filters, canonical
}

// A JobOutput is a path that becomes a ware.
type JobOutput struct {
	Name     string `json:"name"`
	Path     string `json:"path"` // absolute
	Packtype string `json:"packtype"`
	Filters  string `json:"filters,omitempty"`
}

// A JobMount is a path of the machine that the command runs on.
type JobMount struct {
	Port     string `json:"port"`
	Host     string `json:"host"`
	Writable bool   `json:"writable,omitempty"`
}

// Resources are what a command gets at least (what a scheduler sets aside for it) and
// at most. A limit that cannot be enforced is an error that matches ErrUnsupported,
// unless BestEffort says to leave it out; Run.Unenforced names it then.
type Resources struct {
	Requests   Amounts `json:"requests,omitzero"`
	Limits     Amounts `json:"limits,omitzero"`
	BestEffort bool    `json:"best_effort,omitempty"`
}

// Amounts of what a machine has. 0: not said.
type Amounts = formula.Amounts

// RunStatus is where a run is.
type RunStatus string

// The states of a run; the last three are final.
const (
	RunPending   RunStatus = "pending" // taken, its command has not started; also after preemption
	RunRunning   RunStatus = "running"
	RunSucceeded RunStatus = "succeeded"
	RunFailed    RunStatus = "failed"
	RunCancelled RunStatus = "cancelled"
)

// RunStatuses are all there are.
var RunStatuses = []RunStatus{RunPending, RunRunning, RunSucceeded, RunFailed, RunCancelled}

// Ended reports whether the status is final.
func (s RunStatus) Ended() bool { return s == RunSucceeded || s == RunFailed || s == RunCancelled }

// ExitStatus is what a shell would say of how a run ended, for kiln to exit with: the
// exit code, 128 and the number for a signal, 124 for a timeout as of timeout(1), 130
// for a run that was cancelled, 125 where it was not the command that failed.
func (r Run) ExitStatus() int {
	switch {
	case r.Status == RunSucceeded:
		return 0
	case r.Status == RunCancelled:
		return 130
	case r.Reason == ReasonTimeout:
		return 124
	case r.Reason == ReasonSignal:
		return 128 + r.Signal
	case r.Reason == ReasonExit && r.ExitCode != nil:
		return *r.ExitCode
	}
	return 125
}

// RunReason says why a run is pending or has failed.
type RunReason string

// The reasons, as far as environments tell them apart.
const (
	ReasonExit          RunReason = "exit"   // its exit code is not 0
	ReasonSignal        RunReason = "signal" // a signal that nobody asked for ended it
	ReasonTimeout       RunReason = "timeout"
	ReasonOutOfMemory   RunReason = "out of memory"
	ReasonEvicted       RunReason = "evicted"       // its node wanted room, or went away
	ReasonPreempted     RunReason = "preempted"     // pending: something more important runs
	ReasonQueued        RunReason = "queued"        // pending: waits for quota
	ReasonUnschedulable RunReason = "unschedulable" // pending: no node has room for it
	ReasonImageMissing  RunReason = "image missing"
	ReasonInadmissible  RunReason = "inadmissible" // pending: its queue does not exist or takes no such run
	ReasonInput         RunReason = "input"        // a ware could not be had where it ran
	ReasonOutput        RunReason = "output"       // an output is missing, or could not be packed or pushed
	ReasonSetup         RunReason = "setup"        // its command could not be started
	ReasonNotBegun      RunReason = "not begun"    // the environment broke before anything of it ran: another try may go well
	ReasonLost          RunReason = "lost"         // the environment knows nothing of it any more
)

// A Run is one submission to a runner: the content of run.json in its directory, in the
// form that docs/formats.md specifies.
type Run struct {
	ID      string    `json:"id"` // uuid v7
	Runner  string    `json:"runner"`
	Name    string    `json:"name"`
	Status  RunStatus `json:"status"`
	Reason  RunReason `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"` // what the environment says of it, for people

	Created  time.Time `json:"created"`          // UTC, as all times
	Started  time.Time `json:"started,omitzero"` // of the command
	Ended    time.Time `json:"ended,omitzero"`
	ExitCode *int      `json:"exit_code,omitempty"` // nil: it did not exit
	Signal   int       `json:"signal,omitempty"`
	Entry    *int      `json:"entry,omitempty"` // script: index from 0 of the entry that failed

	Outputs   map[string]warehouse.WareID `json:"outputs,omitempty"`  // of a run that succeeded
	Unlogged  int64                       `json:"unlogged,omitempty"` // bytes that it wrote and its logs do not have; of a run that has ended
	Isolation string                      `json:"isolation"`          // such as "container", "docker", "none"
	Offline   Offline                     `json:"offline"`
	// Unenforced names the limits that were asked for, by best effort, and are not kept:
	// "cpus", "memory", "pids".
	Unenforced []string        `json:"unenforced,omitempty"`
	Spec       JobSpec         `json:"spec"`
	Handle     json.RawMessage `json:"handle,omitempty"` // how the runner finds it: a process, a container, a Job
	Dir        string          `json:"-"`                // runs/<id>, absolute: run.json, stdout.log, stderr.log
}

// Offline says what kept a command from the network.
type Offline string

// What can.
const (
	OfflineEnforced Offline = "enforced" // a network namespace with nothing in it
	OfflinePolicy   Offline = "policy"   // a rule of the cluster's, which kiln cannot check
	OfflineNone     Offline = "none"     // nothing
)

// A RunFilter lets runs through that have all it names; its zero value all.
type RunFilter struct {
	Status []RunStatus // any of these
	Name   string
	Labels map[string]string
	Since  time.Time // created then or later
	Before time.Time // created earlier; zero: whenever
}

// Match reports whether the filter lets a run through.
func (f RunFilter) Match(r Run) bool {
	if len(f.Status) > 0 && !slices.Contains(f.Status, r.Status) ||
		f.Name != "" && f.Name != r.Name || r.Created.Before(f.Since) || !f.Before.IsZero() && !r.Created.Before(f.Before) {
		return false
	}
	for name, value := range f.Labels {
		if got, ok := r.Spec.Labels[name]; !ok || got != value {
			return false
		}
	}
	return true
}
