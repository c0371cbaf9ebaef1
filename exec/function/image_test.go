package function

import (
	"strings"
	"testing"
)

// TestLimitsThatEnginesDoNotKeep: those that were asked for are an error, those that were
// not, or are by best effort, are left out and noted.
func TestLimitsThatEnginesDoNotKeep(t *testing.T) {
	for _, tt := range []struct {
		unenforced []string
		options    []Option
		refused    string
	}{
		{[]string{"memory"}, nil, ""},
		{[]string{"memory"}, []Option{Memory(64 << 20)}, "the limit of memory cannot be enforced there"},
		{[]string{"memory"}, []Option{Memory(64 << 20), BestEffort()}, ""},
		{[]string{"memory"}, []Option{CPUs(1.5)}, ""},
		{[]string{"memory", "cpus"}, []Option{CPUs(1.5)}, "the limit of cpus cannot be enforced there"},
		{[]string{"pids"}, []Option{PIDs(5)}, "the limit of pids cannot be enforced there"},
	} {
		o, err := collect(tt.options)
		if err != nil {
			t.Fatal(err)
		}
		limits := o.limits
		notes, err := o.heed(tt.unenforced, &limits)
		switch {
		case tt.refused != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.refused)):
			t.Errorf("%v: %v", tt.unenforced, err)
		case tt.refused == "" && (err != nil || len(notes) != 1 || limits.Memory != 0 || limits.CPUs != o.limits.CPUs):
			t.Errorf("%v: %v, %q, %+v", tt.unenforced, err, notes, limits)
		}
	}
}
