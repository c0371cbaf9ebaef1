package joblog

import (
	"fmt"
	"slices"
	"testing"
)

func TestLogLines(t *testing.T) {
	var tail Tail
	var got []string
	emit := func(line []byte) { got = append(got, string(line)) }
	long := string(slices.Repeat([]byte("x"), MaxLine+5))
	for _, part := range []string{"one\ntw", "o\r\n", "\n", long, "\nlast"} {
		tail.Write([]byte(part), emit)
	}
	tail.Flush(emit)
	want := []string{"one", "two", "", long[:MaxLine], "xxxxx", "last"}
	if !slices.Equal(got, want) {
		t.Errorf("%.40q", got)
	}
	for i := range 2 * Keep {
		tail.Write(fmt.Appendf(nil, "%d\n", i), emit)
	}
	if last := tail.Lines(); len(last) != Keep || last[0] != "20" || last[Keep-1] != "39" {
		t.Errorf("%v", last)
	}
}
