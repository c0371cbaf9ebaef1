package function

import (
	"context"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkAgainstRunc alternates a cold call with a bare start of plain runc, whose
// command does nothing but write a line. Its metrics are the medians and their ratio.
func BenchmarkAgainstRunc(b *testing.B) {
	runc, err := osexec.LookPath("runc")
	if err != nil {
		b.Skipf("needs runc: %v", err)
	}
	f := newFixture(b)
	bundle := f.bundle(runc)
	c := probe[numbers, summary](f, "mean", Workers(1), Logs(nil))
	in := numbers{Values: []float64{1, 2, 3}}
	var calls, starts samples
	for b.Loop() {
		starts.time(func() error {
			return osexec.Command(runc, "--root", bundle+"/state", "run", "-b", bundle, "peer"+strconv.Itoa(os.Getpid())).Run()
		}, b)
		calls.time(func() error {
			_, err := c.Execute(context.Background(), in)
			return err
		}, b)
	}
	b.ReportMetric(starts.median(), "runc-ms")
	b.ReportMetric(calls.median(), "call-ms")
	b.ReportMetric(calls.median()/starts.median(), "ratio")
}

// bundle writes a bundle for runc with the probe in it.
func (f *fixture) bundle(runc string) string {
	f.Helper()
	dir := f.TempDir()
	rec, err := f.local.Get(f.root)
	if err != nil {
		f.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(f.local.Fileset(rec), "probe"))
	if err == nil {
		err = os.Mkdir(dir+"/rootfs", 0o755)
	}
	if err == nil {
		err = os.WriteFile(dir+"/rootfs/probe", program, 0o755)
	}
	if err != nil {
		f.Fatal(err)
	}
	spec := osexec.Command(runc, "spec", "--rootless")
	spec.Dir = dir
	if out, err := spec.CombinedOutput(); err != nil {
		f.Fatalf("%v: %s", err, out)
	}
	config, err := os.ReadFile(dir + "/config.json")
	if err != nil {
		f.Fatal(err)
	}
	text := strings.NewReplacer(`"terminal": true`, `"terminal": false`, `"sh"`, `"/probe", "unread"`).Replace(string(config))
	if err := os.WriteFile(dir+"/config.json", []byte(text), 0o644); err != nil {
		f.Fatal(err)
	}
	return dir
}

type samples []time.Duration

func (s *samples) time(do func() error, b *testing.B) {
	began := time.Now()
	if err := do(); err != nil {
		b.Fatal(err)
	}
	*s = append(*s, time.Since(began))
}

// median returns milliseconds.
func (s samples) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	return float64(sorted[len(sorted)/2].Microseconds()) / 1000
}

// BenchmarkWarmCall is one call when a fresh command waits for it.
func BenchmarkWarmCall(b *testing.B) {
	f := newFixture(b)
	c := probe[numbers, summary](f, "mean", Workers(1), Warm(1), Logs(nil))
	in := numbers{Values: []float64{1, 2, 3}}
	var calls samples
	for b.Loop() {
		for c.pool.waiting() == 0 {
			runtime.Gosched()
		}
		calls.time(func() error {
			_, err := c.Execute(context.Background(), in)
			return err
		}, b)
	}
	b.ReportMetric(calls.median(), "call-ms")
}

func (p *pool) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

// BenchmarkFirst enters a sandbox for a single cold call.
func BenchmarkFirst(b *testing.B) {
	f := newFixture(b)
	for b.Loop() {
		box, err := Open(f.local)
		if err != nil {
			b.Fatal(err)
		}
		c, err := Container[numbers, summary]([]string{"/probe", "mean"}, In(box), Root(f.root))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Execute(context.Background(), numbers{Values: []float64{1}}); err != nil {
			b.Fatal(err)
		}
		c.Close()
		box.Close()
	}
}
