package function

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestWarmCallsShareNothing(t *testing.T) {
	f := newFixture(t)
	c := probe[any, int](f, "count", Warm(2))
	for range 5 {
		if got, err := c.Execute(context.Background(), nil); err != nil || got != 1 {
			t.Fatalf("%d, %v: a call found what another left", got, err)
		}
	}
}

func TestReuse(t *testing.T) {
	f := newFixture(t)
	c := probe[any, int](f, "count", Reuse(3), Workers(1))
	for i := range 7 {
		if got, err := c.Execute(context.Background(), nil); err != nil || got != i%3+1 {
			t.Fatalf("call %d: %d, %v", i, got, err)
		}
	}
}

func TestReuseRecyclesByMemory(t *testing.T) {
	f := newFixture(t)
	for limit, want := range map[int64]bool{16 << 20: false, 1 << 30: true} {
		c := probe[int, int](f, "grow", Reuse(100), RecycleAt(limit), Workers(1))
		counted := &counted{engine: c.pool.engine}
		c.pool.engine = counted
		for range 3 {
			if _, err := c.Execute(context.Background(), 10<<20); err != nil {
				t.Fatal(err)
			}
		}
		if same := counted.launched == 1; same != want {
			t.Errorf("mark %d: %d processes for 3 calls", limit, counted.launched)
		}
	}
}

// A counted engine counts launches, one after the other.
type counted struct {
	engine
	launched int
}

func (c *counted) launch(ctx context.Context) (*process, error) {
	c.launched++
	return c.engine.launch(ctx)
}

// A command that has ended, or says something unasked, is not called again.
func TestReuseOnlyOfWhatIsWell(t *testing.T) {
	f := newFixture(t)
	c := probe[any, int](f, "say={\"ok\":true,\"output\":1}\n", Reuse(10))
	for range 3 { // it ends after each
		if got, err := c.Execute(context.Background(), nil); err != nil || got != 1 {
			t.Fatalf("%d, %v", got, err)
		}
	}
	c = probe[any, int](f, "trailing", Reuse(10))
	for range 3 {
		if got, err := c.Execute(context.Background(), nil); err != nil || got != 1 {
			t.Fatalf("%d, %v", got, err)
		}
	}
	stuck := probe[any, int](f, "sleep", Reuse(10), Timeout(200*time.Millisecond))
	for range 2 {
		if _, err := stuck.Execute(context.Background(), nil); !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	f := newFixture(t)
	for _, options := range [][]Option{{Workers(2)}, {Workers(2), Warm(2)}, {Workers(3), Reuse(5)}} {
		c := probe[numbers, summary](f, "mean", options...)
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				in := numbers{Values: make([]float64, i+1)}
				in.Values[0] = float64(i + 1)
				if got, err := c.Execute(context.Background(), in); err != nil || got != (summary{1, i + 1}) {
					t.Errorf("%d: %+v, %v", i, got, err)
				}
			})
		}
		wg.Wait()
	}
}

func TestWaitingForASlotCanBeCancelled(t *testing.T) {
	f := newFixture(t)
	asleep := make(chan struct{})
	var once sync.Once
	c := probe[any, int](f, "sleep", Workers(1), Logs(func([]byte) { once.Do(func() { close(asleep) }) }))
	go c.Execute(context.Background(), nil)
	<-asleep
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Execute(ctx, nil); !errors.Is(err, ErrCancelled) {
		t.Error(err)
	}
	c.Close()
	if _, err := c.Execute(context.Background(), nil); !errors.Is(err, errPoolClosed) {
		t.Error(err)
	}
}

func benchmark(b *testing.B, parallel bool, options ...Option) {
	f := newFixture(b)
	c := probe[numbers, summary](f, "mean", append(options, SchemaIn(numbersSchema), SchemaOut(summarySchema), Logs(nil))...)
	in := numbers{Values: []float64{1, 2, 3, 4}}
	call := func() {
		if _, err := c.Execute(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
	call()
	b.ReportAllocs()
	b.ResetTimer()
	if parallel {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				call()
			}
		})
		return
	}
	for b.Loop() {
		call()
	}
}

// BenchmarkCold makes a container for every call, when it comes.
func BenchmarkCold(b *testing.B) { benchmark(b, false, Workers(1)) }

// BenchmarkWarm has fresh commands wait for calls; one after the other, so that it
// shows how fast they can be made.
func BenchmarkWarm(b *testing.B) { benchmark(b, true, Workers(2), Warm(4)) }

// BenchmarkReuse and BenchmarkReuseTwo have a command answer many calls.
func BenchmarkReuse(b *testing.B)    { benchmark(b, false, Workers(1), Reuse(1<<30)) }
func BenchmarkReuseTwo(b *testing.B) { benchmark(b, true, Workers(2), Reuse(1<<30)) }
