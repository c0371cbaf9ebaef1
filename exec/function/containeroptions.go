package function

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/warehouse"
)

// In says in which sandbox the containers are made. Containers of wares need it.
func In(s *Sandbox) Option {
	return func(o *settings) { o.box = s; o.set("In", nil) }
}

// Root is the ware at "/": an interpreter and what it needs.
func Root(id warehouse.WareID) Option {
	return func(o *settings) { o.root = id; o.set("Root", nil) }
}

// Mount mounts a ware, read-only, at an absolute path.
func Mount(port string, id warehouse.WareID) Option {
	return func(o *settings) {
		o.mounts = append(o.mounts, mount{port: path.Clean(port), ware: id})
		o.set("Mount", absolute(port))
	}
}

// Dir makes a ware of a directory or file of this machine, as it is when the executor
// is made, and mounts it, read-only, at an absolute path.
func Dir(port, host string) Option {
	return func(o *settings) {
		o.mounts = append(o.mounts, mount{port: path.Clean(port), host: host})
		o.set("Dir", absolute(port))
	}
}

func absolute(p string) error {
	if !path.IsAbs(p) {
		return fmt.Errorf("%q is no absolute path", p)
	}
	return nil
}

// Env sets a variable of the command's environment, beside those of every container.
func Env(name, value string) Option {
	return func(o *settings) {
		var err error
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			err = fmt.Errorf("%q cannot be a variable", name)
		}
		o.env = append(o.env, bundle.Variable{Name: name, Value: value})
		o.set("Env", err)
	}
}

// WorkDir is where the command starts, in place of "/".
func WorkDir(dir string) Option {
	return func(o *settings) { o.cwd = path.Clean(dir); o.set("WorkDir", absolute(dir)) }
}

// User is whom the command runs as, "uid" or "uid:gid" in numbers, in place of 1000.
func User(user string) Option {
	return func(o *settings) {
		var err error
		if _, _, ok := parseUser(user); !ok {
			err = fmt.Errorf("%q is no uid or uid:gid", user)
		}
		o.user = user
		o.set("User", err)
	}
}

// Memory is what all processes of a call may use together, in bytes, in place of
// DefaultMemory. Where this machine cannot enforce it, making the executor fails; the
// default is then kept for each process on its own, and Notes says so.
func Memory(bytes int64) Option {
	return func(o *settings) { o.limits.Memory = bytes; o.set("Memory", positive(bytes)) }
}

// CPUs is how much of the machine's cores a call may use: 1.5 is one and a half.
func CPUs(n float64) Option {
	return func(o *settings) {
		var err error
		if !(n >= 0.01) {
			err = fmt.Errorf("%v is too little to run at all", n)
		}
		o.limits.CPUs = n
		o.set("CPUs", err)
	}
}

// PIDs is how many processes and threads a call may have. Where this machine has no
// cgroups for it, those of all calls of the sandbox count.
func PIDs(n int64) Option {
	return func(o *settings) { o.limits.PIDs = n; o.set("PIDs", positive(n)) }
}

func positive(n int64) error {
	if n <= 0 {
		return fmt.Errorf("%d is none", n)
	}
	return nil
}

// BestEffort accepts that limits this machine cannot enforce are kept as far as it
// can, or not at all. Notes says how.
func BestEffort() Option {
	return func(o *settings) { o.bestEffort = true; o.set("BestEffort", nil) }
}

// Writable lets the command write to its root. What it writes is lost with it.
func Writable() Option {
	return func(o *settings) { o.writable = true; o.set("Writable", nil) }
}

// MaxOutput is how much a response may hold, in bytes, in place of DefaultMaxOutput.
func MaxOutput(bytes int64) Option {
	return func(o *settings) { o.maxOutput = bytes; o.set("MaxOutput", positive(bytes)) }
}

// Logs has every line that commands write to stderr passed to f, one call at a time
// for each command. The line is only valid during the call, at most 16 KiB long, and
// f must not call the executor.
func Logs(f func(line []byte)) Option {
	return func(o *settings) { o.logs = f; o.set("Logs", nil) }
}

// Workers is how many calls may run at once, in place of one a core. Others wait.
func Workers(n int) Option {
	return func(o *settings) { o.workers = n; o.set("Workers", positive(int64(n))) }
}

// Warm keeps n commands started ahead, each waiting for its one request. So a call
// needs not wait for a container or an interpreter, and finds nothing of another.
func Warm(n int) Option {
	return func(o *settings) { o.warm = n; o.set("Warm", positive(int64(n))) }
}

// Reuse lets a command answer up to n requests, one after the other, before it is
// replaced. What one call leaves in its memory or in /tmp, the next one finds.
func Reuse(n int) Option {
	return func(o *settings) { o.reuse = n; o.set("Reuse", positive(int64(n))) }
}

// RecycleAt has a command that is reused replaced once it uses this many bytes.
func RecycleAt(bytes int64) Option {
	return func(o *settings) { o.recycle = bytes; o.set("RecycleAt", positive(bytes)) }
}

// Image is an image of an engine's in place of Root: the command runs in containers of it,
// in place of the image's entrypoint. Nothing is pulled. Dir and Mount are then bind
// mounts on the engine's machine, of what is there when the command runs; Mount needs In,
// which says where wares are. The engine has to stay open longer than the executor.
func Image(engine Images, ref string) Option {
	return func(o *settings) {
		var err error
		if ref == "" || engine == nil {
			err = errors.New("an image needs an engine and a name")
		}
		o.images, o.image = engine, ref
		o.set("Image", err)
	}
}
