package serve

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
)

// metrics are counted since the server started, and written as Prometheus reads them
// (prometheus.io/docs/instrumenting/exposition_formats). Its client library would cost
// every start of kiln; this is what it would do.
type metrics struct {
	mu       sync.Mutex
	requests map[request]*tally
	look     map[lookup]int64
	begun    time.Time
}

type request struct{ method, outcome string }

type tally struct {
	n, received, sent int64
	took              time.Duration
}

type lookup struct {
	of  string // "object", "action", "ware", "memo"
	hit bool
}

func newMetrics() *metrics {
	return &metrics{requests: map[request]*tally{}, look: map[lookup]int64{}, begun: time.Now()}
}

func (m *metrics) request(method, outcome string, received, sent int64, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.requests[request{method, outcome}]
	if t == nil {
		t = new(tally)
		m.requests[request{method, outcome}] = t
	}
	t.n++
	t.received += received
	t.sent += sent
	t.took += took
}

// found counts look-ups.
func (m *metrics) found(of string, hit bool, n int) {
	m.mu.Lock()
	m.look[lookup{of, hit}] += int64(n)
	m.mu.Unlock()
}

// methodOf names what a request is for: there are only so many names, whatever clients
// ask for.
func methodOf(r *http.Request) string {
	if grpc.Serves(r) {
		if name := path.Base(r.URL.Path); slices.Contains(methods, name) {
			return name
		}
		return "other"
	}
	method := r.Method
	if !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPut}, method) {
		method = "other"
	}
	first, _, more := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case more && (first == "ac" || first == "cas" || first == "memo"):
		return method + " " + first
	case more:
		return method + " ware"
	}
	return method
}

var methods = []string{
	"GetCapabilities", "FindMissingBlobs", "BatchUpdateBlobs", "BatchReadBlobs", "GetTree",
	"Read", "Write", "QueryWriteStatus", "GetActionResult", "UpdateActionResult",
}

func grpcCode(n int) string {
	return strings.ReplaceAll(grpc.Code(n).String(), " ", "_")
}

// write writes all there is.
func (s *Server) writeMetrics(w io.Writer) {
	st := s.store.Stats()
	gauge := func(name, help string, v int64) {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s gauge\n%s %d\n", name, help, name, name, v)
	}
	gauge("kiln_serve_stored_bytes", "Room on disk of what clients handed in.", st.Bytes)
	gauge("kiln_serve_stored_bytes_limit", "How much that may be.", st.Max)
	gauge("kiln_serve_stored_files", "Objects and values that clients handed in.", st.Entries)
	if s.local != nil {
		wares, memos := s.local.count()
		gauge("kiln_serve_local_wares", "Wares of this machine that are offered.", wares)
		gauge("kiln_serve_local_memos", "Memos of this machine that may be offered.", memos)
	}
	gauge("kiln_serve_start_time_seconds", "When the server started, Unix time.", s.metrics.begun.Unix())
	fmt.Fprintf(w, "# HELP kiln_serve_evicted_total Files removed to keep the limit.\n# TYPE kiln_serve_evicted_total counter\nkiln_serve_evicted_total %d\n", st.Evicted)
	s.metrics.write(w)
}

func (m *metrics) write(w io.Writer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	counter := func(name, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s counter\n", name, help, name) }

	counter("kiln_serve_lookups_total", "Things asked for, by whether they were there.")
	for _, l := range sorted(m.look, func(l lookup) string { return fmt.Sprint(l) }) {
		fmt.Fprintf(w, "kiln_serve_lookups_total{of=%q,found=\"%t\"} %d\n", l.of, l.hit, m.look[l])
	}
	keys := sorted(m.requests, func(r request) string { return r.method + " " + r.outcome })
	for _, c := range []struct {
		name, help string
		value      func(*tally) any
	}{
		{"kiln_serve_requests_total", "Requests, by what for and how they ended.", func(t *tally) any { return t.n }},
		{"kiln_serve_received_bytes_total", "Bytes that clients sent.", func(t *tally) any { return t.received }},
		{"kiln_serve_sent_bytes_total", "Bytes sent to clients.", func(t *tally) any { return t.sent }},
		{"kiln_serve_request_seconds_total", "Time that requests took.", func(t *tally) any { return t.took.Seconds() }},
	} {
		counter(c.name, c.help)
		for _, k := range keys {
			fmt.Fprintf(w, "%s{method=%q,outcome=%q} %v\n", c.name, k.method, k.outcome, c.value(m.requests[k]))
		}
	}
}

func sorted[K comparable, V any](m map[K]V, by func(K) string) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int { return cmp.Compare(by(a), by(b)) })
	return keys
}
