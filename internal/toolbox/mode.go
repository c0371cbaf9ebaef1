package toolbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func chmod(p *proc, args []string) error {
	// A mode such as -x looks like a flag.
	for i, arg := range args {
		if len(arg) > 1 && arg[0] == '-' && strings.Trim(arg[1:], "rwxXst,+-=ugoa") == "" && arg != "--" {
			args = append(append(append([]string{}, args[:i]...), "--"), args[i:]...)
			break
		}
		if arg == "" || arg[0] != '-' {
			break
		}
	}
	opts, names, err := p.options(args, "Rvf1:", "recursive=R verbose=v silent=f quiet=f reference=1")
	if err != nil {
		return err
	}
	if opts.has('1') {
		return errors.New("option --reference is not supported")
	}
	if len(names) < 2 {
		return errMissingOperand
	}
	if _, err := newMode(0, false, names[0]); err != nil {
		return err
	}
	return p.walkAll(names[1:], opts.has('R'), func(path, name string, d fs.DirEntry) error {
		if d != nil && d.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		return about(name, chmodPath(path, names[0]))
	})
}

// walkAll calls fn for each of names and, if asked, all below it.
func (p *proc) walkAll(names []string, recursive bool, fn func(path, name string, d fs.DirEntry) error) error {
	for _, name := range names {
		root := p.path(name)
		if !recursive {
			if err := fn(root, name, nil); err != nil {
				p.warn(err)
			}
			continue
		}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			shown := name + strings.TrimPrefix(path, root)
			if err != nil {
				p.warn(about(shown, err))
				return nil
			}
			if err := fn(path, shown, d); err != nil {
				p.warn(err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// chmodPath sets the mode of a file, which spec may give relative to what it is.
func chmodPath(path, spec string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	mode, err := newMode(fi.Sys().(*syscall.Stat_t).Mode&0o7777, fi.IsDir(), spec)
	if err != nil {
		return err
	}
	return syscall.Chmod(path, mode)
}

// newMode applies an octal or symbolic mode to old.
func newMode(old uint32, dir bool, spec string) (uint32, error) {
	if n, err := strconv.ParseUint(spec, 8, 12); err == nil {
		return uint32(n), nil
	}
	for clause := range strings.SplitSeq(spec, ",") {
		var err error
		if old, err = modeClause(old, dir, clause); err != nil {
			return 0, fmt.Errorf("bad mode %q", spec)
		}
	}
	return old, nil
}

var errMode = errors.New("bad mode")

// modeClause applies [ugoa]*([-+=][rwxXst]*|[ugo])+ to old.
func modeClause(old uint32, dir bool, clause string) (uint32, error) {
	i := 0
	who := uint32(0)
	for ; i < len(clause); i++ {
		j := strings.IndexByte("ugoa", clause[i])
		if j < 0 {
			break
		}
		who |= [...]uint32{0o4700, 0o2070, 0o1007, 0o7777}[j]
	}
	if i == len(clause) {
		return 0, errMode
	}
	mask := uint32(0o7777)
	if who == 0 {
		umask := syscall.Umask(0)
		syscall.Umask(umask)
		who, mask = 0o7777, ^uint32(umask)
	}
	for i < len(clause) {
		op := clause[i]
		if strings.IndexByte("+-=", op) < 0 {
			return 0, errMode
		}
		bits := uint32(0)
		for i++; i < len(clause) && strings.IndexByte("+-=", clause[i]) < 0; i++ {
			switch c := clause[i]; c {
			case 'r':
				bits |= 0o444
			case 'w':
				bits |= 0o222
			case 'x':
				bits |= 0o111
			case 'X':
				if dir || old&0o111 != 0 {
					bits |= 0o111
				}
			case 's':
				bits |= 0o6000
			case 't':
				bits |= 0o1000
			case 'u', 'g', 'o':
				shift := map[byte]uint32{'u': 6, 'g': 3, 'o': 0}[c]
				bits |= (old >> shift & 7) * 0o111
			default:
				return 0, errMode
			}
		}
		bits &= who & mask
		switch op {
		case '+':
			old |= bits
		case '-':
			old &^= bits
		case '=':
			keep := ^who
			if dir {
				keep |= 0o6000
			}
			old = old&keep | bits
		}
	}
	return old, nil
}

// chown changes owner and group; chgrp the group. Names are looked up in /etc/passwd and /etc/group.
func chown(p *proc, args []string) error {
	opts, names, err := p.options(args, "Rhvf", "recursive=R no-dereference=h verbose=v silent=f quiet=f")
	if err != nil {
		return err
	}
	if len(names) < 2 {
		return errMissingOperand
	}
	owner, group, hasGroup := strings.Cut(names[0], ":")
	if p.name == "chgrp" {
		owner, group, hasGroup = "", names[0], true
	}
	uid, gid := -1, -1
	if owner != "" {
		if uid, err = lookupID("/etc/passwd", owner); err != nil {
			return fmt.Errorf("unknown user %q", owner)
		}
	}
	if hasGroup && group != "" {
		if gid, err = lookupID("/etc/group", group); err != nil {
			return fmt.Errorf("unknown group %q", group)
		}
	}
	set := os.Chown
	if opts.last("hR") != 0 {
		set = os.Lchown
	}
	return p.walkAll(names[1:], opts.has('R'), func(path, name string, _ fs.DirEntry) error {
		return about(name, set(path, uid, gid))
	})
}

// lookupID finds the number of a user or group.
func lookupID(file, name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil && n >= 0 {
		return n, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(line, ":")
		if len(f) > 2 && f[0] == name {
			return strconv.Atoi(strings.TrimSpace(f[2]))
		}
	}
	return 0, errors.New("unknown")
}

// lookupName finds the name of a user or group, the number if it has none.
func lookupName(file string, id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	data, _ := os.ReadFile(file)
	for line := range strings.Lines(string(data)) {
		f := strings.Split(line, ":")
		if len(f) > 2 && strings.TrimSpace(f[2]) == number {
			return f[0]
		}
	}
	return number
}
