package kubernetes

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/exec/delegate"
)

// Labels and annotations of what kiln makes in a cluster.
const (
	runLabel     = "kiln.build/run"      // the run's id
	stepLabel    = "kiln.build/step-key" // as far as it fits
	networkLabel = "kiln.build/network"  // "none": the command is to be offline
	specNote     = "kiln.build/labels"   // the run's own labels, as JSON
	nameNote     = "kiln.build/name"
	queueLabel   = "kueue.x-k8s.io/queue-name"
	classLabel   = "kueue.x-k8s.io/priority-class"
	stepKey      = "step" // the run's label that becomes stepLabel
)

const (
	containerName = "kiln"
	resultPath    = "/dev/termination-log"
	resultLimit   = 4096 // bytes, of the kubelet's
	// maxInline is the longest payload in a Job itself: it is in every event of the Job, its
	// pod and its Workload. A longer one is in a ConfigMap, which takes maxPayload.
	maxInline  = 8 << 10
	maxPayload = 1000 << 10
)

// object is JSON.
type object = map[string]any

// environs are what a pod's root has because of Kubernetes.
var environs = []string{"/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/var/run/secrets"}

// A job is what a run becomes in a cluster.
type job struct {
	exec.Run
	config  *Config
	handle  handle
	image   string
	helper  string // image to take the helper from; "": image has it
	payload []byte
}

// payloadOf says what the helper of a run is to do.
func (c *Config) payloadOf(run exec.Run) ([]byte, error) {
	p := delegate.Payload{
		Run: run.ID, Spec: run.Spec, Result: resultPath, ResultLimit: resultLimit, Hidden: slices.Clone(environs),
		Timeout: run.Spec.Timeout, Network: delegate.NetworkTry, Merge: true, Confine: c.Confine,
	}
	for _, v := range c.Volumes {
		p.Hidden = append(p.Hidden, v.Path)
	}
	p.Spec.Labels = nil
	for _, what := range run.Unenforced {
		if what == "pids" {
			p.Spec.Resources.Limits.PIDs = 0
		}
	}
	if c.Warehouse != "" {
		p.Sources, p.Sink = []string{c.Warehouse}, c.Warehouse
	}
	text, err := p.Encode()
	if err == nil && len(text) > maxPayload {
		err = fmt.Errorf("its specification takes %d bytes, and a cluster at most %d: bring what is long as an input", len(text), maxPayload)
	}
	return text, err
}

// manifest is the Job.
func (j job) manifest() object {
	spec := object{
		"backoffLimit": 0, "completions": 1, "parallelism": 1,
		"podReplacementPolicy":    "Failed", // never two pods of one run
		"ttlSecondsAfterFinished": int64(cmp.Or(j.config.TTL, defaultTTL).Seconds()),
		"template":                object{"metadata": j.meta(""), "spec": j.pod()},
	}
	if t := j.Spec.Timeout; t > 0 { // the helper keeps the time; this is for one that does not
		spec["activeDeadlineSeconds"] = int64(math.Ceil(t.Seconds())) + 60
	}
	if j.config.Queue != "" {
		spec["suspend"] = true
	}
	return object{"apiVersion": "batch/v1", "kind": "Job", "metadata": j.meta(j.handle.Job), "spec": spec}
}

func (j job) meta(name string) object {
	labels := object{"app.kubernetes.io/managed-by": "kiln", runLabel: j.ID}
	if !j.Spec.Network {
		labels[networkLabel] = "none"
	}
	if key := labelValue(j.Spec.Labels[stepKey]); key != "" {
		labels[stepLabel] = key
	}
	if name == "" {
		return object{"labels": labels}
	}
	notes := object{nameNote: j.Spec.Title()}
	if len(j.Spec.Labels) > 0 {
		text, _ := json.Marshal(j.Spec.Labels)
		notes[specNote] = string(text)
	}
	if j.config.Queue != "" {
		labels[queueLabel] = j.config.Queue
		if j.config.PriorityClass != "" {
			labels[classLabel] = j.config.PriorityClass
		}
	}
	return object{"name": name, "namespace": j.handle.Namespace, "labels": labels, "annotations": notes}
}

// labelValue is as much of s as a label may hold.
func labelValue(s string) string {
	s = s[:min(len(s), 63)]
	valid := func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	for i := range len(s) {
		if !valid(s[i]) && s[i] != '-' && s[i] != '_' && s[i] != '.' {
			return ""
		}
	}
	for s != "" && !valid(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	if s != "" && !valid(s[0]) {
		return ""
	}
	return s
}

// pod is the specification of the pod.
func (j job) pod() object {
	c := j.config
	pod := object{
		"restartPolicy": "Never", "hostname": bundle.Hostname,
		"automountServiceAccountToken": false, "enableServiceLinks": false,
		"terminationGracePeriodSeconds": graceSeconds,
		"securityContext":               object{"seccompProfile": object{"type": c.seccomp()}},
	}
	container := object{
		"name": containerName, "image": j.image, "imagePullPolicy": c.pullPolicy(),
		"terminationMessagePath": resultPath,
		"workingDir":             "/",
		"resources":              c.resources(j.Spec.Resources),
		"securityContext":        c.security(),
	}
	volumes, mounts := j.volumes()
	if len(j.payload) <= maxInline {
		payload := strings.ReplaceAll(string(j.payload), "$", "$$") // which the kubelet undoes
		container["command"] = []string{delegate.HelperPath, delegate.Verb, payload}
	} else {
		container["command"] = []string{delegate.HelperPath, delegate.Verb, "@" + delegate.PayloadPath}
		volumes = append(volumes, object{"name": "payload", "configMap": object{"name": j.handle.Job}})
		mounts = append(mounts, object{"name": "payload", "mountPath": delegate.PayloadPath, "subPath": "payload", "readOnly": true})
	}
	if j.helper != "" {
		volumes = append(volumes, object{"name": "kiln", "emptyDir": object{}})
		mount := object{"name": "kiln", "mountPath": delegate.Dir}
		mounts = append([]object{mount}, mounts...)
		pod["initContainers"] = []object{{
			"name": "helper", "image": j.helper, "imagePullPolicy": c.pullPolicy(), "securityContext": c.security(),
			"command": []string{"/kiln", delegate.Verb, delegate.Install, delegate.HelperPath}, "volumeMounts": []object{mount},
			"resources": c.resources(j.Spec.Resources),
		}}
	}
	if len(c.Secrets) > 0 {
		from := []object{}
		for _, name := range c.Secrets {
			from = append(from, object{"secretRef": object{"name": name}})
		}
		container["envFrom"] = from
	}
	if len(volumes) > 0 {
		pod["volumes"], container["volumeMounts"] = volumes, mounts
	}
	if c.ServiceAccount != "" {
		pod["serviceAccountName"] = c.ServiceAccount
	}
	if len(c.NodeSelector) > 0 {
		pod["nodeSelector"] = c.NodeSelector
	}
	if len(c.Tolerations) > 0 {
		pod["tolerations"] = c.Tolerations
	}
	if len(c.ImagePullSecrets) > 0 {
		names := []object{}
		for _, name := range c.ImagePullSecrets {
			names = append(names, object{"name": name})
		}
		pod["imagePullSecrets"] = names
	}
	pod["containers"] = []object{container}
	return pod
}

func (c *Config) pullPolicy() string {
	if c.ImagePullPolicy != "" {
		return c.ImagePullPolicy
	}
	return "IfNotPresent"
}

// seccomp is the profile of a pod: none where the helper brings its own, and must be able to
// make namespaces before that.
func (c *Config) seccomp() string {
	if c.Confine {
		return "Unconfined"
	}
	return "RuntimeDefault"
}

// security is what a container may do: what a step may in kiln's own.
func (c *Config) security() object {
	keep := []string{}
	for _, name := range bundle.Capabilities {
		keep = append(keep, name[len("CAP_"):])
	}
	s := object{"allowPrivilegeEscalation": false, "capabilities": object{"drop": []string{"ALL"}, "add": keep}}
	if c.RunAsUser != nil {
		s["runAsUser"] = *c.RunAsUser
	}
	return s
}

// volumes are those that the configuration and the run name, and where they are mounted.
func (j job) volumes() (volumes, mounts []object) {
	for i, v := range j.config.Volumes {
		name := "volume-" + strconv.Itoa(i)
		source := object{"name": name, "hostPath": object{"path": v.HostPath}}
		if v.Claim != "" {
			source = object{"name": name, "persistentVolumeClaim": object{"claimName": v.Claim}}
		}
		volumes = append(volumes, source)
		mounts = append(mounts, object{"name": name, "mountPath": v.Path, "readOnly": v.ReadOnly})
	}
	for i, m := range j.Spec.Mounts {
		name := "mount-" + strconv.Itoa(i)
		volumes = append(volumes, object{"name": name, "hostPath": object{"path": m.Host}})
		mounts = append(mounts, object{"name": name, "mountPath": m.Port, "readOnly": !m.Writable})
	}
	return volumes, mounts
}

// resources are requests and limits as a container has them.
func (c *Config) resources(r exec.Resources) object {
	requests := exec.Amounts{CPUs: r.Requests.CPUs, Memory: r.Requests.Memory}
	if requests.CPUs == 0 && r.Limits.CPUs == 0 {
		requests.CPUs = c.CPUs
	}
	if requests.Memory == 0 && r.Limits.Memory == 0 {
		requests.Memory = c.Memory
	}
	out := object{}
	for name, a := range map[string]exec.Amounts{"requests": requests, "limits": r.Limits} {
		amounts := map[string]string{}
		if a.CPUs > 0 {
			amounts["cpu"] = strconv.FormatInt(int64(math.Ceil(a.CPUs*1000)), 10) + "m"
		}
		if a.Memory > 0 {
			amounts["memory"] = strconv.FormatInt(a.Memory, 10)
		}
		if len(amounts) > 0 {
			out[name] = amounts
		}
	}
	return out
}

// configMap holds a payload that is too long for the Job. It goes with the Job, uid.
func (j job) configMap(uid string) object {
	meta := j.meta(j.handle.Job)
	meta["ownerReferences"] = []object{{"apiVersion": "batch/v1", "kind": "Job", "name": j.handle.Job, "uid": uid}}
	return object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": object{"payload": string(j.payload)}}
}

// accept says what of a specification a cluster cannot do, and notes in the record how it
// will be carried out.
func (c *Config) accept(r *exec.Run) error {
	s := &r.Spec
	var errs []error
	cannot := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if s.Root.IsZero() && s.Image == "" {
		cannot("it has neither a root ware nor an image, and a pod needs one")
	}
	if c.Images == "" {
		cannot("kiln's helper comes to pods as an image, and there is no registry to push it to: set images = \"REGISTRY/REPOSITORY\" in the runner's block of config.hcl")
	}
	if (len(s.Inputs) > 0 || len(s.Outputs) > 0) && c.Warehouse == "" {
		cannot("wares come to pods and from them through a warehouse, and none is named: set warehouse = \"URL\" in the runner's block of config.hcl")
	}
	if s.Resources.Limits.PIDs > 0 {
		if !s.Resources.BestEffort {
			cannot("limits.pids: Kubernetes limits the processes of a pod by the kubelet's configuration alone")
		}
		r.Unenforced = append(r.Unenforced, "pids")
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", exec.ErrUnsupported, err)
	}
	r.Isolation, r.Offline = r.Runner, exec.OfflineNone
	return nil
}

// sortedNames returns the keys of m, sorted.
func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
