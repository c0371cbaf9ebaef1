package formula

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// HostPath returns the path of this machine that a formula in the directory dir names:
// below dir, absolute, or where "~/" says so below the home directory. Without a home
// directory the path stays as it was written, for a message to show.
func HostPath(path, dir string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/') {
		if home, err := os.UserHomeDir(); err == nil {
			path = filepath.Join(home, rest)
		}
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

var mountModes = []string{string(ReadOnly), string(ReadWrite), string(Overlay)}

func (s *scope) isMount(v cty.Value) bool {
	return !v.IsNull() && v.Type().IsObjectType() && v.Type().HasAttribute("mount")
}

// mount decodes the value of an input that is { mount = PATH, mode = MODE }.
func (s *scope) mount(e item, port string) (Input, bool) {
	in := Input{Port: port, Mode: ReadOnly, Range: e.keyAt}
	for name := range e.value.Type().AttributeTypes() {
		if name != "mount" && name != "mode" {
			_, at := e.part(name)
			s.problem(at, "Unknown attribute", "A mount has no attribute %s.%s", s.quote(name), didYouMean(name, []string{"mount", "mode"}))
		}
	}
	_, at := e.part("mount")
	path, ok := s.textOf(e.value.GetAttr("mount"), at, "mount")
	if ok && (path == "" || strings.Contains(path, "\x00")) {
		s.problem(at, "Invalid mount", "A mount is a path of this machine, and this is %s.", s.quote(path))
		ok = false
	}
	in.Host = HostPath(path, s.m.dir)
	if e.value.Type().HasAttribute("mode") {
		_, at := e.part("mode")
		mode, modeOK := s.textOf(e.value.GetAttr("mode"), at, "mode")
		if modeOK && !slices.Contains(mountModes, mode) {
			s.problem(at, "Invalid mode", "%s is no mode. A mount is \"ro\", read-only, \"overlay\", writable for this step alone, or \"rw\", which changes this machine.%s", s.quote(mode), suggest(mode, mountModes))
			modeOK = false
		}
		in.Mode, ok = Mode(mode), ok && modeOK
	} else if port == "/" {
		in.Mode = Overlay
	}
	if ok && port == "/" && in.Mode != Overlay {
		s.problem(e.at, "Invalid mode", "What is mounted at \"/\" is an overlay: kiln has to make directories there. Write mode = \"overlay\".")
		ok = false
	}
	return in, ok
}

// inputFilters returns the unpack filters of an input written as an object.
func (s *scope) inputFilters(e item) string {
	v := e.value
	if v.IsNull() || !v.Type().IsObjectType() || !v.Type().HasAttribute("from") || !v.Type().HasAttribute("filters") {
		return ""
	}
	_, at := e.part("filters")
	return s.filtersOf(v.GetAttr("filters"), at)
}
