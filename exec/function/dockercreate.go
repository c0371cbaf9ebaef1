package function

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/pack"
)

// docker returns the engine of Docker's containers, and notes. It makes one container
// and removes it: what is wrong with the image, the mounts or the limits shows now.
func (o *settings) docker(command []string) (engine, []string, error) {
	if !o.root.IsZero() {
		return nil, nil, errors.New("a container has a root ware or an image, not both: function.Root, function.Image")
	}
	flags, err := o.createFlags(command[0])
	if err != nil {
		return nil, nil, err
	}
	ctx := context.Background()
	id, _, err := client(ctx, "image", "inspect", "--format", "{{.Id}}", "--", o.image)
	if err != nil {
		if strings.Contains(strings.ToLower(err.Error()), "no such image") {
			err = fmt.Errorf("the daemon has no such image, and functions download nothing: docker pull %s", o.image)
		}
		return nil, nil, fmt.Errorf("image %s: %w", o.image, err)
	}
	d := &docker{image: id, flags: flags, command: command[1:], logs: o.logs}
	name := containerName()
	warnings, err := d.create(ctx, name)
	if err != nil {
		return nil, nil, fmt.Errorf("image %s: %w", o.image, err)
	}
	d.remove(name)
	notes, err := o.heed(warnings)
	return d, notes, err
}

// heed returns the warnings as notes, or as an error where a limit that has to be
// enforced was discarded.
func (o *settings) heed(warnings []string) (notes []string, err error) {
	for _, text := range warnings {
		lower, limit := strings.ToLower(text), ""
		switch discarded := strings.Contains(lower, "discarded") && !o.bestEffort; {
		case discarded && strings.Contains(lower, "memory") && slices.Contains(o.given, "Memory"):
			limit = fmt.Sprintf("%d MiB of memory", o.limits.Memory>>20)
		case discarded && strings.Contains(lower, "cpu") && slices.Contains(o.given, "CPUs"):
			limit = fmt.Sprintf("%v CPUs", o.limits.CPUs)
		}
		if limit != "" {
			return nil, fmt.Errorf("the limit of %s cannot be enforced there: docker: %s", limit, text)
		}
		notes = append(notes, "docker: "+text)
	}
	return notes, nil
}

// createFlags returns the flags of docker create, which give the command the same as
// it has in a container of kiln's.
func (o *settings) createFlags(program string) ([]string, error) {
	user := o.user
	if user == "" {
		user = defaultUser
	}
	uid, gid, _ := parseUser(user)
	memory := strconv.FormatInt(o.limits.Memory, 10)
	flags := []string{
		"--label=org.kilnbuild.function", "--pull=never", "--interactive", "--init=false", "--no-healthcheck", "--log-driver=none",
		"--network=none", "--hostname=" + bundle.Hostname, "--cap-drop=ALL", "--security-opt=no-new-privileges",
		"--tmpfs=/tmp:exec,mode=1777,size=64m", "--memory=" + memory, "--memory-swap=" + memory,
		fmt.Sprintf("--user=%d:%d", uid, gid), "--workdir=" + o.cwd, "--entrypoint=" + program,
	}
	if !o.writable {
		flags = append(flags, "--read-only")
	}
	if o.limits.CPUs > 0 {
		flags = append(flags, "--cpus="+strconv.FormatFloat(o.limits.CPUs, 'f', 9, 64))
	}
	if o.limits.PIDs > 0 {
		flags = append(flags, "--pids-limit="+strconv.FormatInt(o.limits.PIDs, 10))
	}
	for _, v := range o.env {
		flags = append(flags, "--env="+v.Name+"="+v.Value)
	}
	for i, m := range o.mounts {
		if m.port == "/" || slices.ContainsFunc(o.mounts[:i], func(other mount) bool { return other.port == m.port }) {
			return nil, fmt.Errorf("two wares are to be mounted at %s", m.port)
		}
		flag, err := o.bind(m)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.port, err)
		}
		flags = append(flags, flag)
	}
	return flags, nil
}

// bind returns the flag that mounts a directory or file of the daemon's machine, or
// the fileset of a ware.
func (o *settings) bind(m mount) (string, error) {
	source, err := filepath.Abs(m.host)
	if m.host == "" {
		if o.box == nil {
			return "", errors.New("the sandbox says in which warehouse the ware is: function.In")
		}
		rec, missing := o.box.local.Get(m.ware)
		if err = missing; err == nil {
			err = pack.Check(context.Background(), o.box.local, m.ware)
		}
		if err == nil {
			source, err = filepath.Abs(o.box.local.Fileset(rec))
		}
	}
	if err != nil {
		return "", err
	}
	var line bytes.Buffer // what --mount reads is CSV
	w := csv.NewWriter(&line)
	w.Write([]string{"type=bind", "source=" + source, "target=" + m.port, "readonly"})
	w.Flush()
	return "--mount=" + strings.TrimSuffix(line.String(), "\n"), w.Error()
}
