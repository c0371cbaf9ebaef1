package container

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Attach has the next process that this thread starts begin its life in the group: by
// attr in a cgroup of version 2, and by moving the thread itself into those of version
// 1, where a child begins where its parent is. The goroutine is locked to its thread.
// detach undoes it once the process has started, and must be called.
func (g *Group) Attach(attr *syscall.SysProcAttr) (detach func(), err error) {
	var undo []func()
	detach = func() {
		for _, f := range undo {
			f()
		}
	}
	for _, dir := range g.dirs {
		tasks := filepath.Join(dir.path, "tasks")
		if _, statErr := os.Stat(tasks); statErr == nil {
			if err = moveThread(tasks); err == nil {
				undo = append(undo, func() { moveThread(filepath.Join(filepath.Dir(dir.path), "tasks")) }) // its kiln stays what it was
			}
		} else {
			var f *os.File
			if f, err = os.OpenFile(dir.path, os.O_RDONLY|unix.O_PATH|unix.O_DIRECTORY, 0); err == nil {
				attr.UseCgroupFD, attr.CgroupFD = true, int(f.Fd())
				undo = append(undo, func() { f.Close() })
			}
		}
		if err != nil {
			detach()
			return nil, fmt.Errorf("limit the command: %w", err)
		}
	}
	return detach, nil
}

func moveThread(tasks string) error {
	return os.WriteFile(tasks, []byte(strconv.Itoa(unix.Gettid())), 0)
}
