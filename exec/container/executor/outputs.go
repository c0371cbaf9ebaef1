package executor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/warehouse"
)

// A place is where an output lies.
type place struct {
	wire.Output
	real string // its path in the job's tree, links resolved
	own  string // where it lies outside the tree, if the job wrote all of it; else ""
}

// packOutputs turns the job's outputs into wares. What the job wrote whole is
// taken where it lies; what shows through from a ware below is copied.
func (x *executor) packOutputs(j *job, outputs []wire.Output) (map[string]warehouse.Record, error) {
	places := make([]place, len(outputs))
	for i, o := range outputs {
		var err error
		if places[i], err = j.tree.locate(o); err != nil {
			return nil, outputError(o, err)
		}
	}
	keepNested(places)
	records := make(map[string]warehouse.Record, len(places))
	for _, copied := range []bool{true, false} {
		if !copied {
			j.tree.unmount() // what lies in an upper directory must not change under a mounted overlay
		}
		for _, p := range places {
			if (p.own == "") != copied {
				continue
			}
			request := packRequest{Packtype: p.Packtype, Filters: p.Filters, Adopt: !copied}
			at := p.own
			if copied {
				at = filepath.Join(j.tree.root, p.real)
				request.Exclude = j.tree.furniture(p.real)
			}
			request.Path = []byte(at)
			record, err := x.pack(request)
			if err != nil {
				// Where it lies says nothing to anybody: name it as the step did.
				return nil, outputError(p.Output, errors.New(strings.ReplaceAll(err.Error(), at, p.Path)))
			}
			records[p.Name] = record
		}
	}
	return records, nil
}

func (x *executor) pack(r packRequest) (warehouse.Record, error) {
	p, err := x.packer()
	if err != nil {
		return warehouse.Record{}, err
	}
	return p.pack(r)
}

func outputError(o wire.Output, err error) error {
	return &jobError{wire.Failed{Stage: wire.StageOutput, Output: o.Name, Err: err.Error()}, err}
}

// keepNested makes outputs that lie in one another, or are the same, be copied
// before the one that holds them is taken.
func keepNested(places []place) {
	for i := range places {
		for k := range places {
			inner := places[i].real == places[k].real && i < k || places[i].real != places[k].real && nested(places[i].real, places[k].real)
			if inner {
				places[i].own = ""
			}
		}
	}
}

// locate finds an output in the tree as the job saw it.
func (t *tree) locate(o wire.Output) (place, error) {
	root, err := os.OpenFile(t.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return place{}, err
	}
	defer root.Close()
	dir, err := openInRoot(root, path.Dir(o.Path))
	if err != nil {
		return place{}, missing(o.Path, err)
	}
	defer dir.Close()
	if o.Path != "/" {
		var st unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), path.Base(o.Path), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return place{}, missing(o.Path, err)
		}
		if err := packable(o.Path, dir, st.Mode); err != nil {
			return place{}, err
		}
	}
	full, err := os.Readlink(procPath(dir))
	if err != nil {
		return place{}, err
	}
	p := place{Output: o, real: path.Join("/", strings.TrimPrefix(full, t.root), path.Base(o.Path))}
	p.own = t.own(p.real)
	return p, nil
}

func missing(path string, err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("the step did not make %s", path)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// packable says why something other than a directory or a file cannot be an output.
func packable(name string, dir *os.File, mode uint32) error {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG:
		return nil
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, _ := unix.Readlinkat(int(dir.Fd()), path.Base(name), buf)
		return fmt.Errorf("%s is a symbolic link to %s: name what it points to as the output", name, buf[:max(n, 0)])
	}
	kind := map[uint32]string{unix.S_IFSOCK: "a socket", unix.S_IFIFO: "a named pipe", unix.S_IFCHR: "a device", unix.S_IFBLK: "a device"}[mode&unix.S_IFMT]
	return fmt.Errorf("%s is %s: an output is a directory or a file", name, kind)
}

// own returns where the thing at a path of the tree lies if the job wrote all of
// it: in the upper directory of the innermost layer, with nothing below it.
func (t *tree) own(real string) string {
	l := t.layerOf(real)
	rel := strings.TrimPrefix(real, l.port)
	if l.upper == "" || rel == "" || real == "/" || t.holdsLayer(real) {
		return ""
	}
	if l.lower != "" {
		if _, err := os.Lstat(filepath.Join(l.lower, rel)); !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			return ""
		}
		if linked(l.lower, rel) {
			return ""
		}
	}
	own := filepath.Join(l.upper, rel)
	if _, err := os.Lstat(own); err != nil {
		return "" // furniture that the job did not touch
	}
	return own
}

// linked reports whether rel's parent directories, as they are in the upper layer,
// could show a lower directory under another name. They cannot: overlay mounts of
// kiln have redirect_dir off. It only guards against a lower symbolic link on the way.
func linked(lower, rel string) bool {
	for dir := path.Dir(rel); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if info, err := os.Lstat(filepath.Join(lower, dir)); err == nil && info.Mode()&os.ModeSymlink != 0 {
			return true
		}
	}
	return false
}

func (t *tree) layerOf(real string) layer {
	best := t.layers[0]
	for _, l := range t.layers {
		if (l.port == real || nested(real, l.port)) && len(l.port) >= len(best.port) {
			best = l
		}
	}
	return best
}

// holdsLayer reports whether something is mounted at or below a path.
func (t *tree) holdsLayer(real string) bool {
	return slices.ContainsFunc(t.layers, func(l layer) bool { return nested(l.port, real) })
}

// furniture lists, as patterns relative to an output, what shows there only
// because kiln put it below the root ware.
func (t *tree) furniture(real string) []string {
	if real != "/" {
		return nil
	}
	var patterns []string
	for _, dir := range furniture {
		if _, err := os.Lstat(filepath.Join(t.layers[0].lower, dir)); t.layers[0].lower == "" || err != nil {
			patterns = append(patterns, strings.TrimPrefix(dir, "/"))
		}
	}
	return patterns
}
