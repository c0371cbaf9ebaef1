package exec

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Check says what is wrong with a specification in every environment, or nil. Runners
// call it first in Submit.
func (s JobSpec) Check() error {
	err := errors.Join(s.checkCommand(), s.checkEnv(), s.checkPlaces(), s.checkOutputs(), s.Resources.check())
	if s.Timeout < 0 {
		err = errors.Join(err, fmt.Errorf("timeout %s: want more than nothing", s.Timeout))
	}
	if s.LogLimit < 0 {
		err = errors.Join(err, fmt.Errorf("log limit %d: want a number of bytes, or 0 for none", s.LogLimit))
	}
	if !s.Root.IsZero() && s.Image != "" {
		err = errors.Join(err, errors.New("a root ware and an image: want one of them"))
	}
	if err != nil {
		return fmt.Errorf("submit %s: %w", s.Title(), err)
	}
	return nil
}

// Title is what to call a run in a message: its name, or its command's.
func (s JobSpec) Title() string {
	switch {
	case s.Name != "":
		return s.Name
	case len(s.Command) > 0 && s.Command[0] != "":
		return path.Base(s.Command[0])
	}
	return "a run"
}

func (s JobSpec) checkCommand() error {
	if len(s.Command) == 0 || s.Command[0] == "" {
		return errors.New("its command is empty")
	}
	for _, arg := range append(s.Command, s.Script...) {
		if strings.ContainsRune(arg, 0) {
			return fmt.Errorf("argument %q: it has a NUL in it", arg)
		}
	}
	return nil
}

func (s JobSpec) checkEnv() error {
	for _, v := range s.Env {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" || strings.ContainsRune(v, 0) {
			return fmt.Errorf("environment %q: want NAME=VALUE", name)
		}
	}
	return nil
}

func (s JobSpec) checkPlaces() error {
	if s.Dir != "" && !path.IsAbs(s.Dir) {
		return fmt.Errorf("working directory %s: want an absolute path", s.Dir)
	}
	if _, _, err := s.IDs(); err != nil {
		return err
	}
	taken := map[string]bool{"/": !s.Root.IsZero() || s.Image != ""}
	port := func(p string) error {
		switch {
		case !path.IsAbs(p) || path.Clean(p) != p:
			return fmt.Errorf("port %s: want an absolute path, in its shortest form", p)
		case taken[p]:
			return fmt.Errorf("port %s: two inputs are to be there", p)
		}
		taken[p] = true
		return nil
	}
	for _, in := range s.Inputs {
		if err := port(in.Port); err != nil {
			return err
		}
		if in.Ware.IsZero() {
			return fmt.Errorf("input %s: no ware is named", in.Port)
		}
	}
	for _, m := range s.Mounts {
		if err := port(m.Port); err != nil {
			return err
		}
		if !path.IsAbs(m.Host) {
			return fmt.Errorf("mount %s: %s is not an absolute path", m.Port, m.Host)
		}
	}
	return nil
}

func (s JobSpec) checkOutputs() error {
	taken := map[string]bool{}
	for _, o := range s.Outputs {
		switch {
		case o.Name == "" || taken[o.Name]:
			return fmt.Errorf("output %q: want a name, and no two alike", o.Name)
		case !path.IsAbs(o.Path):
			return fmt.Errorf("output %s: %s is not an absolute path", o.Name, o.Path)
		}
		taken[o.Name] = true
	}
	return nil
}

func (r Resources) check() error {
	for _, a := range []struct {
		what             string
		request, maximum float64
		least, most      float64
	}{
		{"cpus", r.Requests.CPUs, r.Limits.CPUs, 0.01, 1 << 22},
		{"memory", float64(r.Requests.Memory), float64(r.Limits.Memory), 1, 1 << 62},
		{"pids", float64(r.Requests.PIDs), float64(r.Limits.PIDs), 1, 1 << 22}, // the kernel's PID_MAX_LIMIT
	} {
		for _, v := range []float64{a.request, a.maximum} { // in formulas the bounds are the same
			if v != 0 && !(v >= a.least && v <= a.most) {
				return fmt.Errorf("resource %s: want a number from %v to %.0f, not %v", a.what, a.least, a.most, v)
			}
		}
		switch {
		case a.maximum > 0 && a.request > a.maximum:
			return fmt.Errorf("resource %s: %v requested, but at most %v allowed", a.what, a.request, a.maximum)
		}
	}
	return nil
}

// IDs returns the user and the group of User.
func (s JobSpec) IDs() (uid, gid int, err error) {
	if s.User == "" {
		return 0, 0, nil
	}
	user, group, both := strings.Cut(s.User, ":")
	u, err := strconv.ParseUint(user, 10, 31)
	g := u
	if err == nil && both {
		g, err = strconv.ParseUint(group, 10, 31)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("user %q: want uid or uid:gid, as numbers", s.User)
	}
	return int(u), int(g), nil
}
