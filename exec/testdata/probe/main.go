// Command probe is what tests run as a step: each argument is something to do, in
// order, "verb:argument". What it reports goes to standard output.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	for _, arg := range os.Args[1:] {
		verb, rest, _ := strings.Cut(arg, ":")
		do := verbs[verb]
		if do == nil {
			fmt.Println("unknown verb", verb)
			os.Exit(99)
		}
		if err := do(rest); err != nil {
			fmt.Printf("%s: %v\n", arg, err)
			os.Exit(98)
		}
	}
}

var verbs map[string]func(string) error

func init() {
	verbs = map[string]func(string) error{
		"mkdir": func(p string) error { return os.MkdirAll(p, 0o755) },
		"write": func(s string) error { // path=text
			path, text, _ := strings.Cut(s, "=")
			os.MkdirAll(filepath.Dir(path), 0o755)
			return os.WriteFile(path, []byte(text), 0o644)
		},
		"append": func(s string) error {
			path, text, _ := strings.Cut(s, "=")
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteString(text)
			return err
		},
		"cat": func(p string) error {
			b, err := os.ReadFile(p)
			fmt.Printf("%s\n", b)
			return err
		},
		"ls": func(p string) error {
			entries, err := os.ReadDir(p)
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			sort.Strings(names)
			fmt.Println("ls", p, strings.Join(names, " "))
			return err
		},
		"rm":      os.RemoveAll,
		"symlink": func(s string) error { link, target, _ := strings.Cut(s, "="); return os.Symlink(target, link) },
		"link":    func(s string) error { link, target, _ := strings.Cut(s, "="); return os.Link(target, link) },
		"fifo":    func(p string) error { return syscall.Mkfifo(p, 0o644) },
		"socket":  func(p string) error { _, err := net.Listen("unix", p); return err },
		"chmod": func(s string) error {
			path, mode, _ := strings.Cut(s, "=")
			m, _ := strconv.ParseUint(mode, 8, 32)
			return syscall.Chmod(path, uint32(m))
		},
		"chown": func(s string) error {
			path, id, _ := strings.Cut(s, "=")
			n, _ := strconv.Atoi(id)
			return os.Lchown(path, n, n)
		},
		"exit":   func(s string) error { n, _ := strconv.Atoi(s); os.Exit(n); return nil },
		"signal": func(s string) error { n, _ := strconv.Atoi(s); return crash(n) },
		"sleep":  func(s string) error { d, err := time.ParseDuration(s); time.Sleep(d); return err },
		"say":    func(s string) error { fmt.Println(s); return nil },
		"spill": func(s string) error { // bytes without a newline
			n, _ := strconv.ParseInt(s, 10, 64)
			_, err := io.CopyN(os.Stdout, zeros{}, n)
			return err
		},
		"files": func(s string) error { // dir=count
			dir, count, _ := strings.Cut(s, "=")
			n, _ := strconv.Atoi(count)
			for i := range n {
				sub := filepath.Join(dir, strconv.Itoa(i/1000))
				if i%1000 == 0 {
					os.MkdirAll(sub, 0o755)
				}
				if err := os.WriteFile(filepath.Join(sub, strconv.Itoa(i)), nil, 0o644); err != nil {
					return err
				}
			}
			return nil
		},
		"deep": func(s string) error { // dir=levels of directories in it
			dir, levels, _ := strings.Cut(s, "=")
			n, _ := strconv.Atoi(levels)
			err := os.Mkdir(dir, 0o755)
			for range n {
				err = errors.Join(err, syscall.Chdir(dir))
				dir = "d"
				if err = errors.Join(err, os.Mkdir(dir, 0o755)); err != nil {
					return err
				}
			}
			return err
		},
		"deaf": func(string) error {
			signal.Ignore(syscall.SIGTERM)
			c := make(chan os.Signal, 1)
			signal.Notify(c, syscall.SIGTERM)
			return nil
		},
		"polite": func(string) error {
			c := make(chan os.Signal, 1)
			signal.Notify(c, syscall.SIGTERM)
			go func() { <-c; fmt.Println("goodbye"); os.Exit(0) }()
			return nil
		},
		"daemon": func(s string) error { // runs the probe with one argument, detached, and goes on
			cmd := osexec.Command("/probe", strings.Split(s, "+")...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			return cmd.Start()
		},
		"child": func(s string) error { // runs the probe with one argument, and tells how that ended
			fmt.Println("child:", osexec.Command("/probe", s).Run())
			return nil
		},
		"eat": func(mebibytes string) error {
			n, _ := strconv.Atoi(mebibytes)
			memory := make([]byte, n<<20)
			for i := 0; i < len(memory); i += 4096 {
				memory[i] = 1
			}
			fmt.Println("ate", len(memory))
			return nil
		},
		"forkbomb": func(string) error {
			for {
				if err := osexec.Command("/probe", "forkbomb:").Start(); err != nil {
					fmt.Println("fork:", err)
					os.Exit(7)
				}
			}
		},
		"env":   func(string) error { e := os.Environ(); sort.Strings(e); fmt.Println(strings.Join(e, "\n")); return nil },
		"world": world,
		"dial": func(addr string) error {
			c, err := net.DialTimeout("tcp", addr, 2*time.Second)
			if err == nil {
				c.Close()
			}
			fmt.Println("dial", addr, err)
			return nil
		},
		"loopback": func(string) error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			go l.Accept()
			_, err = net.Dial("tcp", l.Addr().String())
			return err
		},
		"try": func(s string) error { // says whether something dangerous works
			fmt.Println("try", s, dangers[s]())
			return nil
		},
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func crash(n int) error {
	signal.Reset(syscall.Signal(n))
	if os.Getpid() == 1 { // signals do not end a first process: have a child die and report as a shell would
		cmd := osexec.Command("/probe", "signal:"+strconv.Itoa(n))
		cmd.Run()
		os.Exit(128 + n)
	}
	return syscall.Kill(os.Getpid(), syscall.Signal(n))
}

func world(string) error {
	host, _ := os.Hostname()
	cwd, _ := os.Getwd()
	mask := syscall.Umask(0)
	syscall.Umask(mask)
	stdin, _ := io.ReadAll(os.Stdin)
	ifaces, _ := net.Interfaces()
	var names []string
	for _, i := range ifaces {
		names = append(names, i.Name)
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	fmt.Printf("host=%s cwd=%s umask=%03o stdin=%d uid=%d gid=%d pid=%d net=%s fds=%d\n",
		host, cwd, mask, len(stdin), os.Getuid(), os.Getgid(), os.Getpid(), strings.Join(names, ","), len(fds)-1)
	status, err := os.ReadFile("/proc/self/status")
	for line := range strings.SplitSeq(string(status), "\n") {
		if strings.HasPrefix(line, "Cap") || strings.HasPrefix(line, "NoNewPrivs") || strings.HasPrefix(line, "Seccomp:") || strings.HasPrefix(line, "Groups") {
			fmt.Println(strings.Join(strings.Fields(line), " "))
		}
	}
	limits, _ := os.ReadFile("/proc/self/limits")
	for line := range strings.SplitSeq(string(limits), "\n") {
		if strings.HasPrefix(line, "Max core") || strings.HasPrefix(line, "Max processes") {
			fmt.Println(strings.Join(strings.Fields(line), " "))
		}
	}
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		link, _ := os.Readlink("/proc/self/ns/" + ns)
		fmt.Println("ns", link)
	}
	return err
}

var dangers = map[string]func() error{
	"mount":   func() error { return syscall.Mount("none", "/tmp", "tmpfs", 0, "") },
	"unshare": func() error { return syscall.Unshare(syscall.CLONE_NEWUSER) },
	"mknod":   func() error { return syscall.Mknod("/tmp/null", syscall.S_IFCHR|0o666, 1<<8|3) },
	"sysctl":  func() error { return os.WriteFile("/proc/sys/kernel/hostname", []byte("x"), 0) },
	"kcore": func() error {
		_, err := os.Open("/proc/kcore")
		b, e2 := os.ReadFile("/proc/kcore")
		if err == nil && e2 == nil && len(b) == 0 {
			return fmt.Errorf("empty")
		}
		return err
	},
	"dev":          func() error { return os.WriteFile("/dev/x", nil, 0o644) },
	"sethostname":  func() error { return syscall.Sethostname([]byte("x")) },
	"chmod device": func() error { return os.Chmod("/dev/null", 0o600) },
	"chmod stdin":  func() error { return os.Stdin.Chmod(0o600) },
	"keyctl":       func() error { _, _, e := syscall.Syscall(250, 0, 0, 0); return e },
}
