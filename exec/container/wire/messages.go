package wire

import (
	"time"

	"github.com/kilnbuild/kiln/warehouse"
)

// Hello tells the executor where it works.
type Hello struct {
	Warehouse []byte   // absolute, on the host; a path need not be UTF-8
	Run       string   // names this run's directory below the warehouse's work directory
	Filter    []byte   // seccomp filter for jobs: struct sock_filter array
	MaxPIDs   uint64   // processes the run may have at once; 0: no limit
	Hosts     [][]byte // paths of the host that jobs of the run may have mounted, absolute
}

// Ready says that the executor can take jobs, or why not.
type Ready struct {
	Err   string `json:",omitempty"`
	Stage string `json:",omitempty"` // what it was doing when it failed
}

// A Job is a step, as much of it as is known before its inputs are.
type Job struct {
	ID       int64
	Name     string   // for errors
	Root     *Mount   // the input at "/"; nil: none
	Mounts   []Mount  // inputs known already, sorted by port
	Late     []string // ports whose ware comes with Start
	Scripts  []string // script entries
	GoOn     bool     // entries after one that fails run too
	Network  bool     // it shares the executor's network
	UID, GID int
	ReadOnly bool // nothing but /tmp can be written to, which is in memory
	Files    int  // how many files come along: none; or stdin, stdout and cgroup.procs to join
	// GroupsOnly says that all of its files are cgroup.procs.
	GroupsOnly bool
	Terminal   bool   // the second of its files is a terminal: its stderr too, in place of the log
	MaxPIDs    uint64 // processes its user may have in the run; 0: the run's limit
	MaxData    uint64 // bytes of memory each process may have for itself; 0: no limit
}

// A Mount is a ware, or something of the host, at a port.
type Mount struct {
	Port    string
	Ware    warehouse.WareID
	Path    string // of the fileset, relative to the warehouse directory
	File    bool   // Path is a single file
	Overlay bool   // the job may write
	Host    int    // counted from 1 in Hello.Hosts, in place of a ware; 0: a ware
	Through bool   // Host: what the job writes is written there
}

// Start runs a job that was prepared.
type Start struct {
	ID      int64
	Mounts  []Mount  // those that were Late, sorted by port
	Args    []string // none: nothing is run, the outputs are what is there
	Env     []string
	Cwd     string
	Outputs []Output
	Timeout time.Duration // 0: none
}

// An Output is a path of the job to be packed.
type Output struct {
	Name, Path        string
	Packtype, Filters string
}

// Prepared says that a job's container waits for Start.
type Prepared struct{ ID int64 }

// Exited says how a job's process ended.
type Exited struct {
	ID       int64
	Code     int           // exit code, or -1
	Signal   int           // or 0
	TimedOut bool          // ended because its time was up
	Ended    bool          // ended because it was asked to
	Entry    int           // script entry running last, from 0; -1: not a script
	Duration time.Duration // from the command's start to its end
}

// Packed holds a job's outputs.
type Packed struct {
	ID      int64
	Outputs map[string]warehouse.Record
}

// Stages at which a job can fail without its command having failed.
const (
	StagePrepare = "prepare" // the container could not be made
	StageInput   = "input"   // a ware could not be mounted
	StageStart   = "start"   // the command could not be run
	StageOutput  = "output"  // an output is missing or cannot be a ware
)

// Failed ends a job that did not exit, or whose outputs could not be packed.
type Failed struct {
	ID     int64
	Stage  string
	Output string // StageOutput: its name
	Port   string // StageInput: its port
	Err    string
}

// Usage asks how much memory a job's first process uses, and answers.
type Usage struct {
	ID    int64
	Bytes int64 // resident; 0 where it is not known
}

// End ends a job: one that only was prepared at once, one that runs by SIGTERM
// and, Grace later, SIGKILL.
type End struct {
	ID    int64
	Grace time.Duration
}
