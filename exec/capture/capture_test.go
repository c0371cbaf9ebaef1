package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// captured writes to a log, in pieces, and returns what it kept.
func captured(t *testing.T, limit int64, pieces ...string) (string, Taken) {
	t.Helper()
	var to bytes.Buffer
	l, err := Start(&to, limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		if _, err := io.WriteString(l.File(), p); err != nil {
			t.Fatal(err)
		}
	}
	taken, err := l.Close()
	if err != nil {
		t.Fatal(err)
	}
	if taken.Kept != int64(to.Len()) {
		t.Errorf("it says that it kept %d bytes, of %d", taken.Kept, to.Len())
	}
	return to.String(), taken
}

func TestWithinItsLimitALogIsWhole(t *testing.T) {
	text := strings.Repeat("line\n", 40_000)
	for _, limit := range []int64{0, int64(len(text)), 1 << 30} {
		if got, taken := captured(t, limit, text); got != text || taken.Left != 0 {
			t.Errorf("limit %d: %d bytes of %d, left out %d", limit, len(got), len(text), taken.Left)
		}
	}
}

func TestOverItsLimitALogHasItsBeginningAndItsEnd(t *testing.T) {
	var lines []string
	for i := range 200_000 {
		lines = append(lines, fmt.Sprintf("line %d\n", i))
	}
	text := strings.Join(lines, "")
	got, taken := captured(t, 1000, text)
	if int64(len(got)) > 1000+Tail+500 {
		t.Errorf("it kept %d bytes", len(got))
	}
	head, rest, _ := strings.Cut(got, "\nkiln: the limit of a log, 1000 bytes, is reached")
	_, end, said := strings.Cut(rest, fmt.Sprintf("\nkiln: %d bytes are left out here\n", taken.Left))
	if head != text[:1000] || !said || !strings.HasSuffix(text, "\n"+end) || len(end) < Tail-100 {
		t.Errorf("%d bytes, then %.200q, then %d bytes", len(head), rest, len(end))
	}
	if want := int64(len(text) - 1000 - len(end)); taken.Left != want {
		t.Errorf("%d bytes are left out, and it says %d", want, taken.Left)
	}
}

// What is a little over the limit is all there, with a line that says where the limit was.
func TestALittleOverItsLimitNothingIsLeftOut(t *testing.T) {
	got, taken := captured(t, 5, "1234\n", "5678\n", "9")
	head, rest, _ := strings.Cut(got, "kiln: ")
	if _, end, _ := strings.Cut(rest, "\n"); head != "1234\n" || end != "5678\n9" || taken.Left != 0 {
		t.Errorf("%q, left out %d", got, taken.Left)
	}
}

func TestALineWithoutEndIsCut(t *testing.T) {
	text := strings.Repeat("x", 3*Tail)
	got, taken := captured(t, 10, text)
	if !strings.HasSuffix(got, "\n"+text[:Tail]) || taken.Left != 2*Tail-10 {
		t.Errorf("%d bytes, left out %d", len(got), taken.Left)
	}
}

// The command does not wait for who cannot keep what it writes.
func TestWriteNeverWaitsForAFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	l, err := Start(full, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.File().Write(make([]byte, 4<<20)); err != nil {
		t.Error(err)
	}
	taken, err := l.Close()
	var at *os.PathError
	if !errors.As(err, &at) || taken.Kept != 0 || taken.Left != 4<<20 {
		t.Errorf("%+v %v", taken, err)
	}
}
