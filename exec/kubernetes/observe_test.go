package kubernetes

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/kubernetes/api"
)

// TestObserve: what objects as a cluster shows them, cut to what matters, mean. YAML would
// be longer.
func TestObserve(t *testing.T) {
	const (
		made     = `{"metadata":{"name":"kiln-1"},"status":{"active":1}}`
		failed   = `{"status":{"conditions":[{"type":"Failed","status":"True","reason":"BackoffLimitExceeded","message":"Job has reached the specified backoff limit"}]}}`
		complete = `{"status":{"conditions":[{"type":"Complete","status":"True"}]}}`
		held     = `{"spec":{"suspend":true}}`
	)
	result := func(text string) string {
		quoted, _ := json.Marshal(text)
		return `{"status":{"phase":"Succeeded","containerStatuses":[{"name":"kiln","state":{"terminated":{"exitCode":0,"reason":"Completed","message":` + string(quoted) + `}}}]}}`
	}
	for _, tt := range []struct {
		what               string
		job, pod, workload string
		status             exec.RunStatus
		reason             exec.RunReason
		message            string
	}{
		{"the Job is gone", ``, ``, ``, exec.RunFailed, exec.ReasonLost, "no Job"},
		{"new", made, ``, ``, exec.RunPending, "", "not been made"},
		{"no node has room", made, `{"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"0/1 nodes are available: 1 Insufficient cpu."}]}}`, ``,
			exec.RunPending, exec.ReasonUnschedulable, "Insufficient cpu"},
		{"on its way", made, `{"spec":{"nodeName":"n7"},"status":{"phase":"Pending"}}`, ``, exec.RunPending, "", "n7"},
		{"the node may not pull", made, `{"status":{"phase":"Pending","containerStatuses":[{"state":{"waiting":{"reason":"ErrImageNeverPull","message":"not present"}}}]}}`, ``,
			exec.RunPending, exec.ReasonImageMissing, "not present"},
		{"the registry does not have it", made, `{"status":{"phase":"Pending","initContainerStatuses":[{"state":{"waiting":{"reason":"ImagePullBackOff","message":"back-off"}}}]}}`, ``,
			exec.RunPending, exec.ReasonImageMissing, "back-off"},
		{"its secret is not there", made, `{"status":{"phase":"Pending","containerStatuses":[{"state":{"waiting":{"reason":"CreateContainerConfigError","message":"secret \"s\" not found"}}}]}}`, ``,
			exec.RunPending, exec.ReasonSetup, "secret"},
		{"it runs", made, `{"status":{"phase":"Running","containerStatuses":[{"state":{"running":{}}}]}}`, ``, exec.RunRunning, "", ""},
		{"it is well", complete, result(`{"version":1,"run":"1","status":"succeeded","exit_code":0,"offline":"none"}`), ``, exec.RunSucceeded, "", ""},
		{"of another run", complete, result(`{"version":1,"run":"2","status":"succeeded"}`), ``, exec.RunFailed, exec.ReasonLost, "no result"},
		{"out of memory, exit code 0", complete, `{"status":{"phase":"Succeeded","containerStatuses":[{"state":{"terminated":{"exitCode":0,"reason":"OOMKilled","message":"{\"version\":1,\"run\":\"1\",\"status\":\"succeeded\"}"}}}]}}`, ``,
			exec.RunFailed, exec.ReasonOutOfMemory, "memory"},
		{"out of memory, the helper too", failed, `{"status":{"phase":"Failed","containerStatuses":[{"state":{"terminated":{"exitCode":137,"reason":"OOMKilled"}}}]}}`, ``,
			exec.RunFailed, exec.ReasonOutOfMemory, "memory"},
		{"the deadline, its pod deleted", `{"status":{"conditions":[{"type":"Failed","status":"True","reason":"DeadlineExceeded","message":"Job was active longer than specified deadline"}]}}`, ``, ``,
			exec.RunFailed, exec.ReasonTimeout, "deadline"},
		{"evicted by the kubelet", failed, `{"status":{"phase":"Failed","reason":"Evicted","message":"The node was low on resource: ephemeral-storage."}}`, ``,
			exec.RunFailed, exec.ReasonEvicted, "ephemeral-storage"},
		{"its node is gone", failed, `{"status":{"phase":"Failed","conditions":[{"type":"DisruptionTarget","status":"True","reason":"DeletionByPodGC","message":"PodGC: node no longer exists"}]}}`, ``,
			exec.RunFailed, exec.ReasonEvicted, "node no longer exists"},
		{"its pod is gone", failed, ``, ``, exec.RunFailed, exec.ReasonEvicted, "backoff limit"},
		{"asked to end, nobody knows why yet", made, result(`{"version":1,"run":"1","status":"cancelled"}`), ``, exec.RunRunning, "", "being ended"},
		{"the helper could not start", failed, `{"status":{"phase":"Failed","containerStatuses":[{"state":{"terminated":{"exitCode":128,"reason":"StartError","message":"exec /.kiln/helper: no such file"}}}]}}`, ``,
			exec.RunFailed, exec.ReasonNotBegun, "no such file"},
		{"what brings the helper could not start", failed, `{"status":{"phase":"Failed","initContainerStatuses":[{"state":{"terminated":{"exitCode":128,"reason":"StartError","message":"runc create failed"}}}]}}`, ``,
			exec.RunFailed, exec.ReasonNotBegun, "runc create failed"},
		{"what brings the helper failed", failed, `{"status":{"phase":"Failed","initContainerStatuses":[{"state":{"terminated":{"exitCode":1,"reason":"Error","message":"no room"}}}]}}`, ``,
			exec.RunFailed, exec.ReasonSetup, "no room"},

		{"Kueue has not seen it", held, ``, `-`, exec.RunPending, exec.ReasonQueued, "not looked"},
		{"no quota", held, ``, `{"spec":{"queueName":"q"},"status":{"conditions":[{"type":"QuotaReserved","status":"False","reason":"Pending","message":"couldn't assign flavors: insufficient unused quota for cpu"}]}}`,
			exec.RunPending, exec.ReasonQueued, "insufficient unused quota"},
		{"no queue", held, ``, `{"status":{"conditions":[{"type":"QuotaReserved","status":"False","reason":"Inadmissible","message":"LocalQueue q doesn't exist"}]}}`,
			exec.RunPending, exec.ReasonInadmissible, "doesn't exist"},
		{"preempted, its pod still ends", held, result(`{"version":1,"run":"1","status":"cancelled"}`), `{"status":{"conditions":[{"type":"QuotaReserved","status":"False"},{"type":"Evicted","status":"True","reason":"Preempted","message":"Preempted to accommodate a workload"}]}}`,
			exec.RunPending, exec.ReasonPreempted, "Preempted to"},
		{"deactivated", held, ``, `{"spec":{"active":false},"status":{"conditions":[{"type":"Evicted","status":"True","reason":"Deactivated","message":"The workload is deactivated"}]}}`,
			exec.RunFailed, exec.ReasonInadmissible, "deactivated"},
		{"over, and its quota taken back", complete, result(`{"version":1,"run":"1","status":"succeeded"}`), `{"status":{"conditions":[{"type":"QuotaReserved","status":"False","reason":"Finished"},{"type":"Admitted","status":"False","reason":"Finished"},{"type":"Finished","status":"True"}]}}`,
			exec.RunSucceeded, "", ""},
	} {
		v := view{job: parse[api.Job](t, tt.job), pod: parse[api.Pod](t, tt.pod), ahead: -1, queued: tt.workload != ""}
		if tt.workload != "-" {
			v.workload = parse[api.Workload](t, tt.workload)
		}
		s := observe("1", v)
		if s.RunStatus != tt.status || s.reason != tt.reason || !strings.Contains(s.message, tt.message) {
			t.Errorf("%s: %s %q (%s), want %s %q (%s)", tt.what, s.RunStatus, s.reason, s.message, tt.status, tt.reason, tt.message)
		}
	}
}

func parse[T any](t *testing.T, text string) *T {
	t.Helper()
	if text == "" {
		return nil
	}
	v := new(T)
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRank(t *testing.T) {
	all := map[string]*api.Workload{}
	for name, text := range map[string]string{
		"first":  `{"metadata":{"name":"first","creationTimestamp":"2026-01-01T00:00:01Z"},"spec":{"queueName":"q"}}`,
		"second": `{"metadata":{"name":"second","creationTimestamp":"2026-01-01T00:00:02Z"},"spec":{"queueName":"q"}}`,
		"urgent": `{"metadata":{"name":"urgent","creationTimestamp":"2026-01-01T00:00:09Z"},"spec":{"queueName":"q","priority":10}}`,
		"other":  `{"metadata":{"name":"other"},"spec":{"queueName":"r"}}`,
		"runs":   `{"metadata":{"name":"runs"},"spec":{"queueName":"q"},"status":{"conditions":[{"type":"QuotaReserved","status":"True"}]}}`,
		"over":   `{"metadata":{"name":"over"},"spec":{"queueName":"q"},"status":{"conditions":[{"type":"Finished","status":"True"}]}}`,
	} {
		all[name] = parse[api.Workload](t, text)
	}
	ahead := rank(all)
	for name, want := range map[string]int{"urgent": 0, "first": 1, "second": 2, "other": 0} {
		if ahead[name] != want {
			t.Errorf("%s has %d before it, want %d", name, ahead[name], want)
		}
	}
	if len(ahead) != 4 {
		t.Errorf("%v: what runs or is over does not wait", ahead)
	}
}

func TestLabelValue(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "a": "a", "step-key_1.x": "step-key_1.x", "-a": "", "a-": "a", "a b": "", "é": "",
		strings.Repeat("a", 62) + "--": strings.Repeat("a", 62),
	} {
		if got := labelValue(s); got != want {
			t.Errorf("labelValue(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestNetworkPolicy(t *testing.T) {
	p, err := networkPolicy("n", []string{"10.0.0.7/32:9000", "fd00::/8", "fd00::1/128:80"})
	if err != nil {
		t.Fatal(err)
	}
	var cidrs []string
	for _, rule := range p["spec"].(object)["egress"].([]object) {
		cidrs = append(cidrs, rule["to"].([]object)[0]["ipBlock"].(object)["cidr"].(string))
	}
	if !slices.Equal(cidrs, []string{"10.0.0.7/32", "fd00::/8", "fd00::1/128"}) {
		t.Errorf("%q", cidrs)
	}
	for _, bad := range []string{"10.0.0.7", "10.0.0.7:80", "10.0.0.7/32:http"} {
		if _, err := networkPolicy("n", []string{bad}); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestByOurClock(t *testing.T) {
	created := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	now := created.Add(time.Minute)
	at := func(seconds int) time.Time { return created.Add(time.Duration(seconds) * time.Second) }
	const day = 24 * 3600
	for what, tt := range map[string]struct{ started, ended, wantStarted, wantEnded time.Time }{
		"one clock":                {at(5), at(50), at(5), at(50)},
		"behind":                   {at(5 - day), at(50 - day), at(0), at(45)},
		"ahead":                    {at(5 + day), at(50 + day), at(15), at(60)},
		"behind, never started":    {time.Time{}, at(-day), time.Time{}, at(0)},
		"ahead, never started":     {time.Time{}, at(day), time.Time{}, at(60)},
		"started ours, ended not":  {at(5), at(5 - day), time.Time{}, at(0)},
		"rounded, as long as ever": {at(-1), at(60), at(0), at(60)},
	} {
		r := exec.Run{Created: created, Started: tt.started, Ended: tt.ended}
		byOurClock(&r, now)
		if !r.Started.Equal(tt.wantStarted) || !r.Ended.Equal(tt.wantEnded) {
			t.Errorf("%s: started %s, ended %s, want %s, %s", what, r.Started, r.Ended, tt.wantStarted, tt.wantEnded)
		}
	}
}
