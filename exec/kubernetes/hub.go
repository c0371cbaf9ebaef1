package kubernetes

import (
	"context"
	"net/url"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/exec/kubernetes/api"
)

// A hub is what this process knows of a namespace: the Jobs and pods of all kiln's runs
// there, and Kueue's Workloads, from one watch of each.
type hub struct {
	queued bool
	stop   context.CancelFunc
	stray  func(api.Job) // is told of Jobs that are new and that nobody here watches; nil: nobody is

	mu        sync.Mutex
	jobs      map[string]*api.Job            // by the Job's name
	pods      map[string]map[string]*api.Pod // by the Job's name, and the pod's uid
	workloads map[string]*api.Workload       // by the Job's name
	watchers  map[string]chan struct{}       // by the Job's name: something is new
	listed    map[string]bool                // what has been listed once: "jobs", "pods", "workloads"
	err       error                          // why there will be no more news
	ranked    time.Time                      // when ahead was worked out
	ahead     map[string]int                 // by the Workload's name
}

// rankEvery is how often places in queues are worked out: it takes as long as queues are.
const rankEvery = time.Second

// newHub follows a namespace until ctx ends.
func newHub(ctx context.Context, c *api.Client, namespace string, queued bool, stray func(api.Job)) *hub {
	ctx, stop := context.WithCancel(ctx)
	h := emptyHub(queued)
	h.stop, h.stray = stop, stray
	at := handle{Namespace: namespace}
	go h.follow(func() error { return api.Follow(ctx, c, at.jobs(), ours, jobSink{h}) })
	go h.follow(func() error { return api.Follow(ctx, c, at.pods(), alive, podSink{h}) })
	if queued {
		go h.follow(func() error { return api.Follow(ctx, c, at.workloads(), nil, workloadSink{h}) })
	}
	return h
}

func emptyHub(queued bool) *hub {
	return &hub{
		queued: queued, jobs: map[string]*api.Job{}, pods: map[string]map[string]*api.Pod{},
		workloads: map[string]*api.Workload{}, watchers: map[string]chan struct{}{}, listed: map[string]bool{},
	}
}

// listHub is a hub of what there is now, which nobody follows.
func listHub(ctx context.Context, c *api.Client, namespace string, queued bool) (*hub, error) {
	h, at := emptyHub(queued), handle{Namespace: namespace}
	if err := api.List(ctx, c, at.jobs(), ours, jobSink{h}); err != nil {
		return nil, err
	}
	if err := api.List(ctx, c, at.pods(), ours, podSink{h}); err != nil || !queued {
		return h, err
	}
	return h, api.List(ctx, c, at.workloads(), nil, workloadSink{h})
}

// ours is what a list of kiln's own objects is asked for with. alive leaves out pods that have
// succeeded: those change as often again, of which nothing matters, while they are deleted.
var (
	ours  = url.Values{"labelSelector": {runLabel}}
	alive = url.Values{"labelSelector": {runLabel}, "fieldSelector": {"status.phase!=Succeeded"}}
)

// follow ends all watches when one has: who has a part of the news has none.
func (h *hub) follow(follow func() error) {
	err := follow()
	h.stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
	}
	for name := range h.watchers {
		h.tell(name)
	}
}

// watch returns a channel that tells when there is news of a Job, until unwatch.
func (h *hub) watch(name string) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := make(chan struct{}, 1)
	h.watchers[name] = c
	return c
}

func (h *hub) unwatch(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, name)
}

// tell tells who watches a Job; h.mu is held.
func (h *hub) tell(name string) {
	select {
	case h.watchers[name] <- struct{}{}:
	default:
	}
}

// view returns what there is of a Job; it is not ready before all has been listed once.
// The error says that news have ended.
func (h *hub) view(name string) (v view, ready bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil || !h.listed["jobs"] || !h.listed["pods"] || h.queued && !h.listed["workloads"] {
		return v, false, h.err
	}
	v = view{job: h.jobs[name], workload: h.workloads[name], queued: h.queued, ahead: -1}
	v.pod = newest(h.pods[name])
	if v.workload != nil && waits(v.workload) {
		h.rank()
		if n, ok := h.ahead[v.workload.Metadata.Name]; ok {
			v.ahead = n
		}
	}
	return v, true, nil
}

// newest returns the pod that counts: the last one made.
func newest(pods map[string]*api.Pod) (last *api.Pod) {
	for _, p := range pods {
		if last == nil || last.Metadata.CreationTimestamp.Before(p.Metadata.CreationTimestamp) {
			last = p
		}
	}
	return last
}

// rank works out how many wait before each Workload in its queue; h.mu is held.
func (h *hub) rank() {
	if time.Since(h.ranked) < rankEvery {
		return
	}
	h.ranked, h.ahead = time.Now(), rank(h.workloads)
}

type jobSink struct{ *hub }

func (s jobSink) Replace(all []api.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.jobs
	s.jobs, s.listed["jobs"] = map[string]*api.Job{}, true
	for i := range all {
		s.put(all[i], before[all[i].Metadata.Name] == nil)
	}
	for name := range before {
		s.tell(name)
	}
}

func (s jobSink) Put(j api.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(j, s.jobs[j.Metadata.Name] == nil)
}

func (s jobSink) put(j api.Job, isNew bool) {
	name := j.Metadata.Name
	s.jobs[name] = &j
	if s.tell(name); isNew && s.watchers[name] == nil && s.stray != nil {
		go s.stray(j)
	}
}

func (s jobSink) Drop(j api.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, j.Metadata.Name)
	s.tell(j.Metadata.Name)
}

type podSink struct{ *hub }

func podsJob(p api.Pod) string { return jobName(p.Metadata.Labels[runLabel]) }

func (s podSink) Replace(all []api.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.pods
	s.pods, s.listed["pods"] = map[string]map[string]*api.Pod{}, true
	for i := range all {
		s.put(&all[i])
	}
	for name := range before {
		s.tell(name)
	}
}

func (s podSink) put(p *api.Pod) {
	name := podsJob(*p)
	if s.pods[name] == nil {
		s.pods[name] = map[string]*api.Pod{}
	}
	s.pods[name][p.Metadata.UID] = p
	s.tell(name)
}

func (s podSink) Put(p api.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(&p)
}

func (s podSink) Drop(p api.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := podsJob(p)
	if delete(s.pods[name], p.Metadata.UID); len(s.pods[name]) == 0 {
		delete(s.pods, name)
	}
	s.tell(name)
}

type workloadSink struct{ *hub }

func workloadsJob(w api.Workload) string {
	for _, o := range w.Metadata.OwnerReferences {
		if o.Kind == "Job" {
			return o.Name
		}
	}
	return w.Metadata.Name // somebody else's: it counts for places in the queue
}

func (s workloadSink) Replace(all []api.Workload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workloads, s.ranked, s.listed["workloads"] = map[string]*api.Workload{}, time.Time{}, true
	for i := range all {
		s.workloads[workloadsJob(all[i])] = &all[i]
		s.tell(workloadsJob(all[i]))
	}
}

func (s workloadSink) Put(w api.Workload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workloads[workloadsJob(w)] = &w
	s.tell(workloadsJob(w))
}

func (s workloadSink) Drop(w api.Workload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.workloads, workloadsJob(w))
	s.tell(workloadsJob(w))
}

// failed says why there will be no more news, or nil.
func (h *hub) failed() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}
