package exec

import (
	"context"
	"fmt"
	"testing"

	"github.com/kilnbuild/kiln/formula"
)

// chain is a chain of n steps, each with the one before mounted, its output packed
// and remembered.
func (f *fixture) chain(n int) {
	for i := range n {
		s := f.step(fmt.Sprintf("s%03d", i), fmt.Sprintf("write:/out/x=%d", i))
		output(s, "out", "/out")
		if i > 0 {
			input(s, "/in", fmt.Sprintf("step.s%03d.out", i-1), formula.ReadOnly)
		}
	}
}

// BenchmarkChain50 runs 50 steps that each need the one before. Compare with
// nix-chain-50-cold; the probe is a Go program, which starts slower than a shell.
func BenchmarkChain50(b *testing.B) {
	f := newFixture(b)
	f.chain(50)
	f.options.Force, f.options.Observe = true, nil
	p := f.plan()
	for b.Loop() {
		if result, err := RunPlan(context.Background(), p, f.options); err != nil {
			b.Fatal(err, result.Failed)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/50, "ms/step")
}

// BenchmarkWide200 runs 200 steps that need nothing: what one sandbox costs within
// a run, made and ended, with all cores at work.
func BenchmarkWide200(b *testing.B) {
	f := newFixture(b)
	for i := range 200 {
		f.step(fmt.Sprintf("s%03d", i), fmt.Sprintf("say:%d", i))
	}
	f.options.Force, f.options.Observe = true, nil
	p := f.plan()
	for b.Loop() {
		if result, err := RunPlan(context.Background(), p, f.options); err != nil {
			b.Fatal(err, result.Failed)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/200, "ms/step")
}

// BenchmarkSerial50 is BenchmarkWide200 with one step at a time.
func BenchmarkSerial50(b *testing.B) {
	f := newFixture(b)
	for i := range 50 {
		f.step(fmt.Sprintf("s%03d", i), fmt.Sprintf("say:%d", i))
	}
	f.options.Force, f.options.Observe, f.options.Jobs = true, nil, 1
	p := f.plan()
	for b.Loop() {
		if result, err := RunPlan(context.Background(), p, f.options); err != nil {
			b.Fatal(err, result.Failed)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/50, "ms/step")
}

// BenchmarkRemembered50 is BenchmarkChain50 when nothing has changed.
func BenchmarkRemembered50(b *testing.B) {
	f := newFixture(b)
	f.chain(50)
	f.must()
	f.options.Observe = nil
	p := f.plan()
	for b.Loop() {
		if result, err := RunPlan(context.Background(), p, f.options); err != nil {
			b.Fatal(err, result.Failed)
		}
	}
}
