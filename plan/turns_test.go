package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/retry"
)

// TestTurns: who would have to be waited for is asked again in the end, and from then on
// last.
func TestTurns(t *testing.T) {
	answers := map[rune]error{'w': nil, 's': retry.Silent(errors.New("nothing came")), 'g': errors.New("gone")}
	for _, c := range []struct {
		says        string // what each place answers
		asked, then string // the places as they are asked, and those that are patiently in capitals
		has         bool
	}{
		{"w", "A", "A", true},
		{"s", "A", "A", false},
		{"gw", "aB", "aB", true},
		{"gs", "aB", "aB", false},
		{"sw", "aB", "b", true},
		{"ssw", "abc", "c", true},
		{"sg", "abA", "bA", false},
		{"ssg", "abcAB", "cAB", false},
		{"ss", "abAB", "AB", false},
	} {
		var turns turns
		var places []string
		for i := range c.says {
			places = append(places, fmt.Sprintf("http://%c.example/x", 'a'+i))
		}
		for _, want := range []string{c.asked, c.then} {
			asked := ""
			failures, has, err := turns.take(t.Context(), places, func(ctx context.Context, i int) (bool, error) {
				name := string(rune('A' + i))
				if retry.IsHurried(ctx) {
					name = strings.ToLower(name)
				}
				asked += name
				err := answers[rune(c.says[i])]
				return err == nil, err
			})
			if !strings.EqualFold(asked, want) || !has && asked != want || has != c.has || err != nil {
				t.Errorf("%s: asked %s, want %s; %v", c.says, asked, want, err)
			}
			if !has && len(failures) != len(places) {
				t.Errorf("%s: %v", c.says, failures)
			}
		}
	}
}

// TestMirrorBusy: a mirror that wants to be left alone for long is left for the next
// place, and waited for if there is no other.
func TestMirrorBusy(t *testing.T) {
	var busy, until atomic.Int32
	until.Store(1000)
	mirror := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if busy.Add(1) > until.Load() {
			io.WriteString(w, "text")
			return
		}
		w.Header().Set("Retry-After", "600")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	good := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "text") })
	none := serve(t, http.NotFound)
	pr := newProject(t, map[string]formula.Source{"ware.a": {Kind: formula.SourceURL, URL: good + "/x", SHA256: hexSum("text")}})
	var paused []time.Duration
	pr.options.pause = func(ctx context.Context, d time.Duration) error {
		paused = append(paused, d)
		return ctx.Err()
	}
	pr.options.Mirrors = someMirrors{good: {mirror}}
	pr.resolve()
	if busy.Load() != 1 || len(paused) > 0 {
		t.Errorf("asked %d times, paused %v", busy.Load(), paused)
	}

	for _, recovers := range []bool{true, false} {
		busy.Store(0)
		paused = nil
		if recovers {
			until.Store(3)
		} else {
			until.Store(1000)
		}
		pr := newProject(t, map[string]formula.Source{"ware.a": {Kind: formula.SourceURL, URL: none + "/x", SHA256: hexSum("text")}})
		pr.options.pause = func(ctx context.Context, d time.Duration) error {
			paused = append(paused, d)
			return ctx.Err()
		}
		pr.options.Mirrors = someMirrors{none: {mirror}}
		if recovers {
			pr.resolve()
			if busy.Load() != 4 || len(paused) != 2 {
				t.Errorf("asked %d times, paused %v", busy.Load(), paused)
			}
			continue
		}
		if text := errText(pr.fail()); !strings.Contains(text, mirror) || !strings.Contains(text, none) || len(paused) != 4 {
			t.Errorf("%s; paused %v", text, paused)
		}
	}
}
