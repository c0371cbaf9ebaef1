// Command probe is a function of every kind, good and bad, for tests. Its argument
// says of which.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	osexec "os/exec"
	"strings"
	"time"

	runner "github.com/kilnbuild/kiln/exec/function/runners/go"
)

type numbers struct {
	Values []float64 `json:"values"`
	Label  string    `json:"label,omitempty"`
}

type summary struct {
	Mean  float64 `json:"mean"`
	Count int     `json:"count"`
}

func mean(_ context.Context, in numbers) (summary, error) {
	fmt.Println("a line that a library prints") // goes to the log
	sum := 0.0
	for _, v := range in.Values {
		sum += v
	}
	return summary{Mean: sum / float64(len(in.Values)), Count: len(in.Values)}, nil
}

func main() {
	say := func(text string) {
		bufio.NewReaderSize(os.Stdin, 1<<20).ReadString('\n')
		os.Stdout.WriteString(text)
	}
	const good = `{"ok":true,"output":1}`
	switch what, arg, _ := strings.Cut(os.Args[1], "="); what {
	case "mean":
		runner.Main(mean)
	case "echo":
		runner.Main(func(_ context.Context, in json.RawMessage) (json.RawMessage, error) { return in, nil })
	case "say":
		say(arg)
	case "say-and-exit":
		say(arg)
		os.Exit(3)
	case "twice":
		say(good + "\n" + good + "\n")
	case "trailing":
		say(good + "\n}")
	case "log":
		say("starting up\n" + good + "\n")
	case "utf8":
		say("{\"ok\":true,\"output\":\"\xff\"}")
	case "unread":
		fmt.Println(good)
	case "flood":
		say(`{"ok":true,"output":"`)
		for {
			if _, err := os.Stdout.WriteString(strings.Repeat("x", 1<<16)); err != nil {
				return
			}
		}
	case "sleep":
		say("")
		fmt.Fprintln(os.Stderr, "asleep")
		time.Sleep(time.Hour)
	case "close-and-sleep":
		say(good)
		os.Stdout.Close()
		time.Sleep(time.Hour)
	case "child": // ends, and leaves a child that has its stdout
		if len(os.Args) > 2 {
			time.Sleep(time.Hour)
		}
		self := osexec.Command("/proc/self/exe", "child", "inner")
		self.Stdout, self.Stderr = os.Stdout, os.Stderr
		if err := self.Start(); err != nil {
			panic(err)
		}
		say(good)
	case "eat":
		io.ReadAll(io.LimitReader(os.Stdin, 1))
		var all [][]byte
		for range 4096 {
			block := make([]byte, 1<<20)
			for i := range block {
				block[i] = 1
			}
			all = append(all, block)
		}
		fmt.Println(len(all))
	case "fork":
		if len(os.Args) > 2 {
			time.Sleep(time.Hour)
		}
		started := 0
		var err error
		for range 1000 {
			if err = osexec.Command("/proc/self/exe", "fork", "inner").Start(); err != nil {
				break
			}
			started++
		}
		say(fmt.Sprintf(`{"ok":true,"output":{"started":%d,"limited":%v}}`, started, err != nil))
	case "world":
		runner.Main(func(_ context.Context, _ any) (map[string]any, error) { return world(), nil })
	case "count": // remembers
		calls := 0
		runner.Main(func(_ context.Context, _ any) (int, error) {
			calls++
			return calls, nil
		})
	case "grow":
		var all []byte
		runner.Main(func(_ context.Context, n int) (int, error) {
			block := make([]byte, n)
			for i := range block {
				block[i] = 1
			}
			all = append(all, block...)
			return os.Getpid(), nil
		})
	case "fail":
		runner.Main(func(_ context.Context, in any) (any, error) {
			return nil, &runner.Error{Message: "no such thing", Code: "missing", Details: in}
		})
	case "panic":
		runner.Main(func(context.Context, any) (any, error) { panic("at the disco") })
	}
}

// world tells what a function finds around it.
func world() map[string]any {
	w := map[string]any{"uid": os.Getuid(), "gid": os.Getgid(), "env": os.Environ()}
	w["cwd"], _ = os.Getwd()
	_, dial := net.Dial("tcp", "1.1.1.1:80")
	w["network"] = dial == nil
	w["root"] = text(os.WriteFile("/x", nil, 0o600))
	w["tmp"] = text(os.WriteFile("/tmp/x", []byte("x"), 0o600))
	data, err := os.ReadFile("/data/greeting")
	w["data"] = string(data) + text(err)
	w["data_write"] = text(os.WriteFile("/data/greeting", nil, 0o600))
	return w
}

func text(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return fmt.Sprint(err)
}
