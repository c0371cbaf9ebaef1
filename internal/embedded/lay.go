package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// LayToolbox writes the toolbox's fileset to dir, which must not exist: the binaries
// and a link for each applet in bin, usr/bin and sbin leading there, and the
// few files and directories that programs expect of a system.
func LayToolbox(dir string) error {
	if _, err := Toolbox(); err != nil {
		return err
	}
	return Lay(dir, toolbox, toolboxLanguages, toolboxApplets)
}

// Lay is LayToolbox with the binaries and the names of the applets, one in a line,
// given. The build uses it to compute the ware id.
func Lay(dir string, core, languages []byte, applets string) error {
	if err := lay(dir, core, languages, applets); err != nil {
		return fmt.Errorf("lay out toolbox: %w", err)
	}
	return nil
}

func lay(dir string, core, languages []byte, applets string) error {
	for _, d := range []string{".", "bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var"} {
		if err := makeDir(filepath.Join(dir, d)); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		name string
		mode os.FileMode
		data []byte
	}{
		{"bin/toolbox", 0o755, core},
		{"bin/toolbox-languages", 0o755, languages},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")},
		{"etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n")},
		{"etc/hosts", 0o644, []byte("127.0.0.1 localhost\n::1 localhost\n")},
		{"etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nhosts: files\n")},
	} {
		if err := write(filepath.Join(dir, f.name), f.data, f.mode); err != nil {
			return err
		}
	}
	links := map[string]string{"usr/bin": "../bin", "sbin": "bin", "var/tmp": "../tmp"}
	for applet := range strings.FieldsSeq(applets) {
		links["bin/"+applet] = "toolbox"
	}
	links["bin/awk"], links["bin/jq"] = "toolbox-languages", "toolbox-languages"
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky)
}

// makeDir makes a directory whose mode does not depend on the umask.
func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

// write writes a file whose mode does not depend on the umask.
func write(name string, data []byte, mode os.FileMode) error {
	if err := os.WriteFile(name, data, mode); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}
