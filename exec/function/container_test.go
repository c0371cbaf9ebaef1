package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestContainer(t *testing.T) {
	f := newFixture(t)
	stats := probe[numbers, summary](f, "mean", SchemaIn(numbersSchema), SchemaOut(summarySchema))
	got, err := stats.Execute(context.Background(), numbers{Values: []float64{1, 2, 6}})
	if err != nil || got != (summary{3, 3}) {
		t.Errorf("%+v, %v", got, err)
	}
	if !strings.Contains(f.logs(), "a line that a library prints") {
		t.Errorf("logs: %q", f.logs())
	}
	if _, err := stats.Execute(context.Background(), numbers{}); !errors.Is(err, ErrInputInvalid) {
		t.Errorf("no values: %v", err)
	}
	_, err = stats.Execute(context.Background(), numbers{Values: make([]float64, 6)})
	var bad *InvalidError
	if !errors.Is(err, ErrOutputInvalid) || !errors.As(err, &bad) || len(bad.Violations) != 1 || bad.Violations[0].Pointer != "/count" {
		t.Errorf("too many: %v", err)
	}
}

func TestContainersWorld(t *testing.T) {
	f := newFixture(t)
	data := t.TempDir()
	if err := os.WriteFile(data+"/greeting", []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := probe[any, map[string]any](f, "world", Dir("/data", data), Env("A", "b"), WorkDir("/tmp"))
	got, err := c.Execute(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"uid": json.Number("1000"), "gid": json.Number("1000"), "cwd": "/tmp", "network": false, "root": "read-only file system", "tmp": "<nil>",
		"data": "hello<nil>", "data_write": "read-only file system",
	}
	if oneID() && !underDocker() {
		want["uid"], want["gid"] = json.Number("0"), json.Number("0")
		if !strings.Contains(strings.Join(c.Notes(), "\n"), "runs as user 0 of its own") {
			t.Errorf("notes: %q", c.Notes())
		}
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %v, want %v", name, got[name], value)
		}
	}
	if env := got["env"].([]any); !slices.Contains(env, any("A=b")) || !underDocker() && !slices.Contains(env, any("TZ=UTC")) {
		t.Errorf("env %v", env)
	}
}

func TestBadResponses(t *testing.T) {
	f := newFixture(t)
	for kind, want := range map[string]string{
		"say=":                                "it ended without a response",
		"say-and-exit=":                       "it ended without a response, exited with code 3",
		"say=hello":                           `no response (logs belong on stderr); on stdout it wrote "hello"`,
		"say=[1]":                             "is no response",
		"say={}":                              `has no "ok"`,
		`say={"ok":true}`:                     `has no "output"`,
		`say={"ok":false}`:                    `no "error" with a "message"`,
		`say={"ok":true,"output":`:            "ends in the middle",
		`say-and-exit={"ok":true,"output":1}`: "did not end well after its response, exited with code 3",
		"trailing":                            "after its response it wrote more",
		"twice":                               "two responses",
		"log":                                 `on stdout it wrote "starting up`,
		"utf8":                                "not valid UTF-8",
		"panic":                               "",
		"fail":                                "",
	} {
		_, err := probe[any, int](f, kind).Execute(context.Background(), map[string]int{"a": 1})
		var reported *FunctionError
		switch {
		case want != "" && (!errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v; want %q", kind, err, want)
		case want == "" && !errors.As(err, &reported):
			t.Errorf("%s: %v", kind, err)
		case kind == "panic" && (reported.Code != "panic" || !strings.Contains(f.logs(), "goroutine")):
			t.Errorf("%s: %v; logs %s", kind, err, f.logs())
		case kind == "fail" && (err.Error() != "no such thing (missing)" || string(reported.Details) != `{"a":1}` || !errors.Is(err, ErrFunction)):
			t.Errorf("%s: %v %s", kind, err, reported.Details)
		}
	}
}

func TestGoodResponsesOfOddCommands(t *testing.T) {
	f := newFixture(t)
	for _, kind := range []string{"unread", "child", `say={"ok":true,"output":1}`} {
		if got, err := probe[any, int](f, kind).Execute(context.Background(), strings.Repeat("x", 300<<10)); err != nil || got != 1 {
			t.Errorf("%s: %v, %v", kind, got, err)
		}
	}
}

func TestOutputIsBounded(t *testing.T) {
	f := newFixture(t)
	_, err := probe[any, string](f, "flood", MaxOutput(1<<20)).Execute(context.Background(), nil)
	if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("%.300v", err)
	}
}

func TestTimeoutAndCancelEndEverything(t *testing.T) {
	f := newFixture(t)
	for _, kind := range []string{"sleep", "close-and-sleep", "child"} {
		if kind == "child" { // whose first process ends by itself, and the other with it
			if _, err := probe[any, int](f, kind).Execute(context.Background(), nil); err != nil {
				t.Errorf("child: %v", err)
			}
			continue
		}
		_, err := probe[any, int](f, kind, Timeout(300*time.Millisecond)).Execute(context.Background(), nil)
		var late *TimeoutError
		if !errors.As(err, &late) || late.Limit != 300*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := probe[any, int](f, "sleep", Logs(func(line []byte) { cancel() }))
	if _, err := c.Execute(ctx, nil); !errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left := f.live(); left != 0 {
		t.Errorf("%d processes are left", left)
	}
}

// live is how many containers there are.
func (f *fixture) live() int {
	if underDocker() {
		return len(strings.Fields(f.docker("ps", "--all", "--quiet")))
	}
	f.box.mu.Lock()
	defer f.box.mu.Unlock()
	return len(f.box.processes)
}

func TestMemory(t *testing.T) {
	f := newFixture(t)
	f.needsLimits()
	c := probe[any, int](f, "eat")
	_, err := c.Execute(context.Background(), nil)
	var memory *MemoryError
	if !errors.As(err, &memory) || memory.Limit != DefaultMemory || !errors.Is(err, ErrMemory) {
		t.Errorf("%v; notes %q; logs %s", err, c.Notes(), f.logs())
	}
	enforced := len(c.Notes()) == 0 || !strings.Contains(c.Notes()[len(c.Notes())-1], "each process")
	_, err = Container[any, int]([]string{"/probe", "eat"}, append(f.where[:len(f.where):len(f.where)], Memory(64<<20))...)
	if (err == nil) != enforced {
		t.Errorf("asked for a limit: %v; notes without: %q", err, c.Notes())
	}
	if err != nil && !strings.Contains(err.Error(), "the limit of 64 MiB of memory cannot be enforced here: ") {
		t.Error(err)
	}
	_, err = probe[any, int](f, "eat", Memory(64<<20), BestEffort()).Execute(context.Background(), nil)
	if !errors.As(err, &memory) || memory.Limit != 64<<20 {
		t.Errorf("64 MiB: %v", err)
	}
}

func TestPIDs(t *testing.T) {
	f := newFixture(t)
	f.needsLimits()
	type result struct {
		Started int
		Limited bool
	}
	got, err := probe[any, result](f, "fork", PIDs(40)).Execute(context.Background(), nil)
	if err != nil || !got.Limited || got.Started > 40 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRefusedOptions(t *testing.T) {
	f := newFixture(t)
	usual := []Option{In(f.box), Root(f.root)}
	missing := f.root
	missing.Hash = strings.Repeat("0", len(missing.Hash))
	for want, options := range map[string][]Option{
		"a container needs a sandbox":                {Root(f.root)},
		"a container needs a root ware":              {In(f.box)},
		"option Mount: \"data\" is no absolute path": append(usual, Mount("data", f.root)),
		"option Memory: -1 is none":                  append(usual, Memory(-1)),
		"option User: \"me\" is no uid":              append(usual, User("me")),
		"option Env: \"A=\" cannot be":               append(usual, Env("A=", "")),
		"option Image: an image needs an engine":     append(usual, Image(nil, "python:3")),
		"a container has a root ware or an image":    append(usual, Image(struct{ Images }{}, "python:3")),
		"make a ware of /none":                       append(usual, Dir("/d", "/none")),
		"two wares are to be mounted at /d":          append(usual, Mount("/d", f.root), Mount("/d/", f.root)),
		"mount /d: ":                                 append(usual, Mount("/d", missing)),
	} {
		if _, err := Container[int, int]([]string{"/probe"}, options...); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	if _, err := Container[int, int](nil, usual...); err == nil {
		t.Error("no command")
	}
	if _, err := Local(double, Warm(2)); err == nil || err.Error() != "option Warm means nothing to function.Local" {
		t.Error(err)
	}
	c, err := Container[int, int]([]string{"/nothing"}, usual...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Execute(context.Background(), 1); err == nil || !strings.Contains(err.Error(), "start the function: /nothing: ") {
		t.Error(err)
	}
}

func TestLargeAndExactInput(t *testing.T) {
	f := newFixture(t)
	echo := probe[json.RawMessage, json.RawMessage](f, "echo", SchemaIn(`{"type": "number"}`), SchemaOut(`{"minimum": 1e400}`))
	for _, number := range []string{"1e401", "12345678901234567890123456789" + strings.Repeat("0", 400)} {
		got, err := echo.Execute(context.Background(), json.RawMessage(number))
		if err != nil || string(got) != number {
			t.Errorf("%.40s: %.40s, %v", number, got, err)
		}
	}
	size := 4 << 20
	if os.Getenv("KILN_TEST_LARGE") != "" {
		size = 100 << 20
	}
	large := bytes.Repeat([]byte("x"), size)
	large[0], large[size-1] = '"', '"'
	e := probe[json.RawMessage, json.RawMessage](f, "echo", MaxOutput(200<<20), Memory(2<<30), BestEffort())
	got, err := e.Execute(context.Background(), large)
	if err != nil || !bytes.Equal(got, large) {
		t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
	}
	if _, err := e.Execute(context.Background(), json.RawMessage("{")); !errors.Is(err, ErrInputInvalid) {
		t.Errorf("no JSON: %v", err)
	}
}

func TestSandboxClosedMeanwhile(t *testing.T) {
	f := newFixture(t)
	c := probe[any, int](f, "sleep", Logs(func([]byte) { go f.box.Close() }))
	if _, err := c.Execute(context.Background(), nil); err == nil || errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if _, err := c.Execute(context.Background(), nil); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}
