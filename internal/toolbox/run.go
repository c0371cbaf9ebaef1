package toolbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// call runs a command with the streams of p, after what p has written.
func (p *proc) call(args []string) int {
	p.out.Flush()
	sub := &proc{ctx: p.ctx, dir: p.dir, environ: p.environ, stdin: p.stdin, stdout: p.stdout, stderr: p.stderr}
	return sub.exec(args, p.getenv("PATH"))
}

func env(p *proc, args []string) error {
	opts, rest, err := p.options(args, "+iu:C:0", "ignore-environment=i unset=u chdir=C null=0")
	if err != nil {
		return err
	}
	list := p.environ()
	if len(rest) > 0 && rest[0] == "-" {
		list, rest = nil, rest[1:]
	}
	if opts.has('i') {
		list = nil
	}
	set := func(name, value string, keep bool) {
		var out []string
		for _, kv := range list {
			if !strings.HasPrefix(kv, name+"=") {
				out = append(out, kv)
			}
		}
		if keep {
			out = append(out, name+"="+value)
		}
		list = out
	}
	for _, name := range opts.all('u') {
		set(name, "", false)
	}
	for len(rest) > 0 {
		name, value, ok := strings.Cut(rest[0], "=")
		if !ok {
			break
		}
		set(name, value, true)
		rest = rest[1:]
	}
	if len(rest) == 0 {
		end := byte('\n')
		if opts.has('0') {
			end = 0
		}
		for _, kv := range list {
			p.line([]byte(kv), true, end)
		}
		return nil
	}
	sub := *p
	sub.environ = func() []string { return list }
	if dir := opts.value('C', ""); dir != "" {
		sub.dir = p.path(dir)
	}
	if code := sub.call(rest); code != 0 {
		return exit(code)
	}
	return nil
}

func printenv(p *proc, args []string) error {
	if len(args) == 0 {
		return env(p, nil)
	}
	for _, name := range args {
		found := false
		for _, kv := range p.environ() {
			if value, ok := strings.CutPrefix(kv, name+"="); ok {
				fmt.Fprintln(p.out, value)
				found = true
			}
		}
		if !found {
			p.status = 1
		}
	}
	return nil
}

func sleep(p *proc, args []string) error {
	var total time.Duration
	for _, arg := range args {
		d, err := duration(arg)
		if err != nil {
			return err
		}
		total += d
	}
	if len(args) == 0 {
		return errMissingOperand
	}
	timer := time.NewTimer(total)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.ctx.Done():
		return exit(143)
	}
}

// duration reads seconds, or a number with s, m, h or d.
func duration(s string) (time.Duration, error) {
	unit := time.Second
	number := strings.TrimRight(s, "smhd")
	switch s[len(number):] {
	case "", "s":
	case "m":
		unit = time.Minute
	case "h":
		unit = time.Hour
	case "d":
		unit = 24 * time.Hour
	default:
		number = ""
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f < 0 {
		return 0, fmt.Errorf("bad time %q", s)
	}
	return time.Duration(f * float64(unit)), nil
}

// timeout runs a command as a process of its own group and ends it when its time is over.
func timeout(p *proc, args []string) error {
	opts, rest, err := p.options(args, "+s:k:fp", "signal=s kill-after=k foreground=f preserve-status=p")
	if err != nil {
		return err
	}
	if len(rest) < 2 {
		return errMissingOperand
	}
	limit, err := duration(rest[0])
	if err != nil {
		return err
	}
	sig, err := signalByName(opts.value('s', "TERM"))
	if err != nil {
		return err
	}
	path, err := p.lookPath(rest[1], p.getenv("PATH"))
	if err != nil {
		return codedError{about(rest[1], err), 127}
	}
	cmd := command(p, path, rest[1:])
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !opts.has('f')}
	if err := cmd.Start(); err != nil {
		return codedError{about(rest[1], err), 126}
	}
	target := -cmd.Process.Pid
	if opts.has('f') {
		target = cmd.Process.Pid
	}
	expired := make(chan struct{})
	if limit > 0 {
		timer := time.AfterFunc(limit, func() {
			close(expired)
			syscall.Kill(target, sig)
		})
		defer timer.Stop()
	}
	if k := opts.value('k', ""); k != "" {
		after, err := duration(k)
		if err != nil {
			return err
		}
		timer := time.AfterFunc(limit+after, func() { syscall.Kill(target, syscall.SIGKILL) })
		defer timer.Stop()
	}
	code := waitStatus(cmd.Wait())
	select {
	case <-expired:
		if !opts.has('p') {
			code = 124
		}
	default:
	}
	return exit(code)
}

// xargs builds commands from words on standard input.
func xargs(p *proc, args []string) error {
	opts, words, err := p.options(args, "+0d:n:I:L:P:rtxa:E:s:", "null=0 delimiter=d max-args=n replace=I max-lines=L max-procs=P no-run-if-empty=r verbose=t arg-file=a exit=x max-chars=s")
	if err != nil {
		return err
	}
	if len(words) == 0 {
		words = []string{"echo"}
	}
	in := p.stdin
	if name := opts.value('a', ""); name != "" {
		f, err := p.open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	var numbers [4]int
	for i, flag := range []byte("nPLs") {
		if numbers[i], err = strconv.Atoi(opts.value(flag, "0")); err != nil {
			return err
		}
	}
	if opts.last("EL") != 0 {
		return errors.New("options -E and -L are not supported")
	}
	items, err := xargsItems(in, opts)
	if err != nil {
		return err
	}
	x := &xargsRun{p: p, slots: make(chan struct{}, max(1, numbers[1])), verbose: opts.has('t')}
	if mark := opts.value('I', ""); mark != "" {
		for _, item := range items {
			line := make([]string, len(words))
			for i, word := range words {
				line[i] = strings.ReplaceAll(word, mark, item)
			}
			x.run(line)
		}
		return x.wait()
	}
	if len(items) == 0 && !opts.has('r') {
		x.run(words)
	}
	perCall, chars := numbers[0], numbers[3]
	if chars == 0 {
		chars = 128 << 10
	}
	for len(items) > 0 && !x.stopped() {
		n, size := 0, 0
		for n < len(items) && (perCall == 0 || n < perCall) && (n == 0 || size+len(items[n]) < chars) {
			size += len(items[n]) + 1
			n++
		}
		x.run(append(append([]string{}, words...), items[:n]...))
		items = items[n:]
	}
	return x.wait()
}

type xargsRun struct {
	p       *proc
	slots   chan struct{}
	wg      sync.WaitGroup
	mu      sync.Mutex
	code    int
	verbose bool
}

func (x *xargsRun) stopped() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.code >= 124
}

func (x *xargsRun) run(args []string) {
	if x.verbose {
		fmt.Fprintln(x.p.stderr, strings.Join(args, " "))
	}
	x.slots <- struct{}{}
	x.wg.Go(func() {
		sub := *x.p
		sub.stdin = strings.NewReader("")
		sub.out = bufio.NewWriter(io.Discard)
		code := sub.call(args)
		<-x.slots
		x.mu.Lock()
		defer x.mu.Unlock()
		switch {
		case code == 255:
			x.code = 124
		case code > 128:
			x.code = max(x.code, 125)
		case code == 126 || code == 127:
			x.code = max(x.code, code)
		case code != 0:
			x.code = max(x.code, 123)
		}
	})
	if cap(x.slots) == 1 {
		x.wg.Wait()
	}
}

func (x *xargsRun) wait() error {
	x.wg.Wait()
	if x.code != 0 {
		return exit(x.code)
	}
	return nil
}

// xargsItems splits the input at blanks, with quotes and backslashes; or at
// newlines with -I, or at the byte that -0 or -d names.
func xargsItems(in io.Reader, opts options) ([]string, error) {
	data, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	sep := ""
	switch opts.last("0dI") {
	case '0':
		sep = "\x00"
	case 'd':
		sep = unescape(opts.value('d', ""))
	case 'I':
		sep = "\n"
	}
	if sep != "" {
		var items []string
		for item := range strings.SplitSeq(strings.TrimSuffix(string(data), sep), sep) {
			if opts.has('I') && sep == "\n" {
				if item = strings.TrimLeft(item, " \t"); item == "" {
					continue
				}
			}
			if len(data) > 0 {
				items = append(items, item)
			}
		}
		return items, nil
	}
	return splitWords(data)
}

func splitWords(data []byte) ([]string, error) {
	var items []string
	var word []byte
	in := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case ' ', '\t', '\n':
			if in {
				items, word, in = append(items, string(word)), word[:0], false
			}
		case '\'', '"':
			end := bytes.IndexByte(data[i+1:], c)
			if end < 0 {
				return nil, errors.New("unmatched quote")
			}
			word, in = append(word, data[i+1:i+1+end]...), true
			i += end + 1
		case '\\':
			if i++; i < len(data) {
				word, in = append(word, data[i]), true
			}
		default:
			word, in = append(word, c), true
		}
	}
	if in {
		items = append(items, string(word))
	}
	return items, nil
}

func which(p *proc, args []string) error {
	opts, names, err := p.options(args, "a", "all=a")
	if err != nil {
		return err
	}
	for _, name := range names {
		found := false
		for _, dir := range filepath.SplitList(p.getenv("PATH")) {
			path, err := p.lookPath(name, dir)
			if err == nil && (!found || opts.has('a')) {
				fmt.Fprintln(p.out, path)
				found = true
			}
		}
		if !found {
			p.status = 1
		}
	}
	return nil
}

func tty(p *proc, _ []string) error {
	if f, ok := p.stdin.(*os.File); ok {
		if name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())); err == nil && strings.HasPrefix(name, "/dev/pts") {
			fmt.Fprintln(p.out, name)
			return nil
		}
	}
	fmt.Fprintln(p.out, "not a tty")
	return exit(1)
}
