package function

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type numbers struct {
	Values []float64 `json:"values"`
	Label  string    `json:"label,omitempty"`
}

type summary struct {
	Mean  float64 `json:"mean"`
	Count int     `json:"count"`
}

const (
	numbersSchema = `{"type": "object", "properties": {"values": {"type": "array", "items": {"type": "number"}, "minItems": 1}, "label": {"type": "string", "maxLength": 20}}, "required": ["values"], "additionalProperties": false}`
	summarySchema = `{"type": "object", "properties": {"mean": {"type": "number"}, "count": {"type": "integer", "minimum": 0, "maximum": 5}}, "required": ["mean", "count"]}`
)

func mean(_ context.Context, in numbers) (summary, error) {
	sum := 0.0
	for _, v := range in.Values {
		sum += v
	}
	return summary{Mean: sum / float64(len(in.Values)), Count: len(in.Values)}, nil
}

func local[A, B any](t testing.TB, f func(context.Context, A) (B, error), options ...Option) Executor[A, B] {
	t.Helper()
	l, err := Local(f, options...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLocal(t *testing.T) {
	ctx := context.Background()
	stats := local(t, mean, SchemaIn(numbersSchema), SchemaOut(summarySchema))
	if got, err := stats.Execute(ctx, numbers{Values: []float64{1, 2, 6}}); err != nil || got != (summary{3, 3}) {
		t.Errorf("%+v, %v", got, err)
	}
	_, err := stats.Execute(ctx, numbers{Label: "none"})
	var bad *InvalidError
	if !errors.Is(err, ErrInputInvalid) || !errors.As(err, &bad) || len(bad.Violations) != 1 || bad.Violations[0].Pointer != "/values" {
		t.Errorf("nil values: %v", err)
	}
	_, err = stats.Execute(ctx, numbers{Values: make([]float64, 6)})
	if !errors.Is(err, ErrOutputInvalid) || errors.Is(err, ErrInputInvalid) || !strings.Contains(err.Error(), "/count: maximum: got 6, want 5") {
		t.Errorf("too many: %v", err)
	}
	_, err = stats.Execute(ctx, numbers{Values: []float64{1}, Label: "\xff"})
	if err != nil {
		t.Errorf("what encoding/json repairs: %v", err)
	}
}

func TestLocalOneSchemaAlone(t *testing.T) {
	ctx := context.Background()
	if _, err := local(t, mean, SchemaIn(numbersSchema)).Execute(ctx, numbers{}); !errors.Is(err, ErrInputInvalid) {
		t.Errorf("in: %v", err)
	}
	if _, err := local(t, mean, SchemaOut(summarySchema)).Execute(ctx, numbers{Values: make([]float64, 9)}); !errors.Is(err, ErrOutputInvalid) {
		t.Errorf("out: %v", err)
	}
}

func TestLocalRefusesOptions(t *testing.T) {
	for want, option := range map[string]Option{
		"option SchemaIn: the schema does not compile": SchemaIn(`{"type": 3}`),
		"option SchemaOut: ":                           SchemaOut(`nonsense`),
		"option Timeout: ":                             Timeout(0),
	} {
		if _, err := Local(mean, option); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

func TestLocalWrapsTheFunctionsError(t *testing.T) {
	failing := local(t, func(context.Context, int) (int, error) { return 0, io.ErrNoProgress })
	_, err := failing.Execute(context.Background(), 1)
	if !errors.Is(err, ErrFunction) || !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
	own := local(t, func(context.Context, int) (int, error) { return 0, &FunctionError{Message: "no", Code: "E1"} })
	var f *FunctionError
	if _, err = own.Execute(context.Background(), 1); !errors.As(err, &f) || f.Code != "E1" || err.Error() != "no (E1)" {
		t.Error(err)
	}
}

func TestLocalTimeoutAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		start := time.Now()
		_, err := local(t, wait).Execute(context.Background(), 1)
		var late *TimeoutError
		if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &late) || time.Since(start) != DefaultTimeout {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		if _, err := local(t, wait).Execute(ctx, 1); !errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled) || errors.Is(err, ErrTimeout) {
			t.Error(err)
		}
		var kept context.Context
		local(t, func(ctx context.Context, _ int) (int, error) { kept = ctx; return 0, nil }).Execute(context.Background(), 1)
		if <-kept.Done(); kept.Err() != context.Canceled {
			t.Error("a context that outlives the call is not ended")
		}
	})
}

func double(_ context.Context, n int) (int, error) { return 2 * n, nil }

func BenchmarkLocal(b *testing.B) {
	f := local(b, double)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Execute(context.Background(), 21); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLocalStruct(b *testing.B) {
	f, in := local(b, mean), numbers{Values: []float64{1, 2, 3, 4}, Label: "four"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Execute(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLocalSchemas(b *testing.B) {
	f, in := local(b, mean, SchemaIn(numbersSchema), SchemaOut(summarySchema)), numbers{Values: []float64{1, 2, 3, 4}, Label: "four"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Execute(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
}

// Values without a Go type of their own, as they come from a file.
func BenchmarkLocalSchemasMaps(b *testing.B) {
	f := local(b, func(_ context.Context, in map[string]any) (map[string]any, error) {
		return map[string]any{"mean": 2.5, "count": len(in)}, nil
	}, SchemaIn(numbersSchema), SchemaOut(summarySchema))
	in := map[string]any{"values": slices.Repeat([]any{1.5}, 4), "label": "four"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Execute(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
}
