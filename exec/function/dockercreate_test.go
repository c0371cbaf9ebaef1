package function

import (
	"strings"
	"testing"
)

// Docker's words where the kernel lacks what a limit needs.
func TestLimitsThatDockerDiscards(t *testing.T) {
	const (
		memory = "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded."
		swap   = "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
		cpus   = "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded."
	)
	for _, tt := range []struct {
		warning string
		options []Option
		refused string
	}{
		{memory, nil, ""},
		{memory, []Option{Memory(64 << 20)}, "the limit of 64 MiB of memory cannot be enforced there: docker: Your kernel"},
		{memory, []Option{Memory(64 << 20), BestEffort()}, ""},
		{memory, []Option{CPUs(1.5)}, ""},
		{swap, []Option{Memory(64 << 20)}, ""},
		{cpus, []Option{CPUs(1.5)}, "the limit of 1.5 CPUs cannot be enforced there: "},
	} {
		o, err := collect(tt.options)
		if err != nil {
			t.Fatal(err)
		}
		notes, err := o.heed([]string{tt.warning})
		switch {
		case tt.refused == "" && (err != nil || len(notes) != 1 || notes[0] != "docker: "+tt.warning):
			t.Errorf("%.60s: %v, %q", tt.warning, err, notes)
		case tt.refused != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.refused)):
			t.Errorf("%.60s: %v", tt.warning, err)
		}
	}
}
