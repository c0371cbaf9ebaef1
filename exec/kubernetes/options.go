// Package kubernetes runs commands as Jobs of a cluster, also through Kueue's queues. A Job's
// pod has one container, whose first process is kiln's helper (package delegate); the
// wares come from and go to a warehouse that pods and this machine both reach, and the
// root ware is an image in a registry.
//
// What a run is doing the cluster knows, so a run needs no process here. Any kiln process
// that looks at one carries it: it follows the Job by a watch that all its runs share, keeps
// the log and the record up to date, and at the end takes the result and deletes what was
// made. If it dies, the next one that looks goes on from there.
package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/warehouse"
)

// Name is the runner's, QueueName that of the runner that goes through Kueue.
const (
	Name      = "kubernetes"
	QueueName = "kueue"
)

// Options are what a runner is made of.
type Options struct {
	Config
	Registry *registry.Registry
	Local    *warehouse.Local
	CacheDir string // of image layers
	Program  []byte // cmd/kiln-kube
	Helper   string // path of a static kiln for the cluster's nodes
	Open     func(ctx context.Context, url string) (warehouse.Store, error)
}

// Config is what a person says of a cluster, once.
type Config struct {
	Kubeconfig string // path; "": as kubectl finds it
	Context    string // "": the current one
	Namespace  string // "": the context's

	Images        string // REGISTRY/REPOSITORY that root wares are pushed to as images
	Warehouse     string // URL of the warehouse, as pods reach it
	WarehouseHere string // as this machine does; "": as pods do
	Volumes       []Volume
	Secrets       []string // of the namespace: their entries are the helper's environment, never the command's

	ServiceAccount   string
	NodeSelector     map[string]string
	Tolerations      []Toleration
	ImagePullSecrets []string
	ImagePullPolicy  string // "": IfNotPresent
	RunAsUser        *int64 // of containers; nil: as the image says

	// Confine has the helper make namespaces for the command and filter its system calls, so
	// that it is offline and cannot write to its inputs: its pods have no seccomp profile then,
	// which not every namespace admits. Otherwise they have the node's.
	Confine bool

	CPUs   float64 // requested by runs that say nothing of cores; 0: nothing is
	Memory int64   // the same of memory, bytes

	NoPolicy bool     // write no network policy: runs are then not kept from the network
	Egress   []string // CIDR[:PORT] that offline runs reach nevertheless: their warehouse

	TTL time.Duration // how long the cluster keeps a Job that has ended and nobody has asked about; 0: a day

	Queue         string // Kueue's LocalQueue; "": no queue
	PriorityClass string // Kueue's WorkloadPriorityClass
}

// A Volume is storage that all pods have at Path: a claim, or a directory of each node.
type Volume struct {
	Path     string
	Claim    string
	HostPath string
	ReadOnly bool
}

// A Toleration is one of a pod's.
type Toleration struct {
	Key      string `json:"key,omitempty"`
	Operator string `json:"operator,omitempty"` // Exists, Equal
	Value    string `json:"value,omitempty"`
	Effect   string `json:"effect,omitempty"`
}

const (
	defaultTTL = 24 * time.Hour
	// graceSeconds is how long a pod has after SIGTERM: the command's grace, and some for
	// the helper to say how it went.
	graceSeconds = 15
	// imagePatience is how long an image may be missing: registries, and who pushes to
	// them, come late.
	imagePatience = time.Minute
)

// check says what is wrong with a configuration.
func (c Config) check() error {
	for _, v := range c.Volumes {
		if !path.IsAbs(v.Path) || (v.Claim == "") == (v.HostPath == "") {
			return fmt.Errorf("volume %q: want an absolute path, and a claim or a host path", v.Path)
		}
	}
	if c.Warehouse != "" {
		u, err := url.Parse(c.Warehouse)
		if err != nil {
			return fmt.Errorf("warehouse: %w", errors.Unwrap(err))
		}
		if strings.TrimPrefix(u.Scheme, "ca+") == "file" && !c.mounted(u.Path) {
			return fmt.Errorf("warehouse %s: no volume is mounted there, so pods do not have it: add a volume with the path %s", c.Warehouse, u.Path)
		}
	}
	return nil
}

// mounted reports whether pods have a volume at or above a path.
func (c Config) mounted(at string) bool {
	for _, v := range c.Volumes {
		if at == v.Path || strings.HasPrefix(at, strings.TrimSuffix(v.Path, "/")+"/") {
			return true
		}
	}
	return false
}

// here is the URL of the warehouse for this machine.
func (c Config) here() string {
	if c.WarehouseHere != "" {
		return c.WarehouseHere
	}
	return c.Warehouse
}

// A handle is how a run is found in its cluster, and how far its log has been read.
type handle struct {
	Server    string `json:"server"`
	Namespace string `json:"namespace"`
	Job       string `json:"job"`
	Policy    bool   `json:"policy,omitempty"` // a network policy holds for it
	Pod       string `json:"pod,omitempty"`    // uid of the one whose log is being read
	From      int64  `json:"from,omitempty"`   // where in stdout.log that begins
}

func handleOf(run exec.Run) (h handle, err error) {
	if err = json.Unmarshal(run.Handle, &h); err != nil {
		return h, fmt.Errorf("run %s: its handle: %w", run.ID, err)
	}
	return h, nil
}

func (h handle) text() json.RawMessage {
	text, _ := json.Marshal(h) // strings and numbers
	return text
}

func (h handle) jobs() string { return "/apis/batch/v1/namespaces/" + h.Namespace + "/jobs" }
func (h handle) pods() string { return "/api/v1/namespaces/" + h.Namespace + "/pods" }
func (h handle) maps() string { return "/api/v1/namespaces/" + h.Namespace + "/configmaps" }
func (h handle) job() string  { return h.jobs() + "/" + h.Job }
func (h handle) workloads() string {
	return "/apis/kueue.x-k8s.io/v1beta1/namespaces/" + h.Namespace + "/workloads"
}

// jobName names the Job of a run.
func jobName(id string) string { return "kiln-" + id }
