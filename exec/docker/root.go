package docker

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/image"
	"github.com/kilnbuild/kiln/warehouse"
)

// engineFiles are those that engines put into every container, over what is there.
var engineFiles = []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}

// engineMade are paths that are in a container though the root ware may not have them:
// those that a step always has, and what engines make.
var engineMade = append([]string{
	"/proc", "/dev", "/tmp", "/sys", "/run/.containerenv", "/.dockerenv", "/.dockerinit", "/etc/mtab",
}, engineFiles...)

// imageName begins the names of images that are root wares. Its host makes podman take it
// as it is.
const imageName = "localhost/kiln-root:"

// image returns the name of the run's image in the engine, where it is put if need be.
func (j *job) image(ctx context.Context) (string, error) {
	spec := j.run.Spec
	if spec.Image != "" {
		_, err := j.ImageInspect(ctx, spec.Image)
		if errdefs.IsNotFound(err) {
			return "", &refusal{exec.ReasonImageMissing, fmt.Errorf("the engine has no image %s, and kiln downloads none: docker pull %s", spec.Image, spec.Image)}
		}
		if err != nil {
			return "", fmt.Errorf("image %s: %w", spec.Image, err)
		}
		if !j.shared {
			return "", fmt.Errorf("image %s: the engine does not see this machine's files, so that kiln's helper has to be in the image: use a root ware", spec.Image)
		}
		return spec.Image, nil
	}
	layers, name, err := j.layers(ctx)
	if err != nil {
		return "", err
	}
	j.letGo()
	if j.using, err = j.useRoot(j.engine, name); err != nil {
		return "", fmt.Errorf("note that image %s is used: %w", name, err)
	}
	return name, j.load(ctx, name, layers)
}

// letGo says that the run's image needs no protection any more.
func (j *job) letGo() {
	if j.using != nil {
		j.using.Close()
		j.using = nil
	}
}

// layers returns what the image of the root ware is made of, and its name.
func (j *job) layers(ctx context.Context) ([]image.Layer, string, error) {
	id := j.run.Spec.Root
	if id.IsZero() {
		rec, err := emptyWare(ctx, j.Warehouse)
		if err != nil {
			return nil, "", err
		}
		id = rec.ID
	}
	rec, err := j.whole(ctx, id)
	if err == nil && rec.File {
		err = fmt.Errorf("ware %s is a single file, and the root of a step is a directory: give it another port, such as /file", id)
	}
	if err != nil {
		return nil, "", &refusal{exec.ReasonInput, fmt.Errorf("input /: %w", err)}
	}
	j.root = j.Warehouse.Fileset(rec)
	layers := []image.Layer{{Ware: id, Path: "/", Root: true}}
	name := imageName + rec.Tree.Hash
	if !j.shared {
		helper, err := pack.Ingest(ctx, j.Warehouse, j.helper, pack.Options{})
		if err != nil {
			return nil, "", fmt.Errorf("make a layer of the helper: %w", err)
		}
		layers = append(layers, image.Layer{Ware: helper.ID, Path: delegate.HelperPath, Root: true})
		name += "-" + helper.Tree.Hash[:16]
	}
	return layers, name, nil
}

// emptyWare puts a ware with nothing in it into the warehouse: an image has a layer.
func emptyWare(ctx context.Context, l *warehouse.Local) (warehouse.Record, error) {
	dir, err := l.Stage("empty")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		return warehouse.Record{}, err
	}
	defer os.RemoveAll(dir)
	return pack.Ingest(ctx, l, dir, pack.Options{})
}

// load gives the engine an image unless it has it. Of several kilns one does.
func (j *job) load(ctx context.Context, name string, layers []image.Layer) error {
	has := func() (bool, error) {
		_, err := j.ImageInspect(ctx, name)
		if errdefs.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	}
	if there, err := has(); there || err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(j.CacheDir, "docker-load-"+strings.TrimPrefix(name, imageName)))
	if err != nil {
		return fmt.Errorf("load image %s: %w", name, err)
	}
	defer unlock()
	if there, err := has(); there || err != nil {
		return err
	}
	img, err := image.Make(ctx, j.Warehouse, j.CacheDir, image.Spec{
		Layers: layers, Platform: "linux/" + j.arch(), Config: v1.ImageConfig{Entrypoint: []string{delegate.HelperPath}},
	})
	if err != nil {
		return err
	}
	if err := j.stream(ctx, img, name); err != nil {
		return fmt.Errorf("load image %s: %w", name, err)
	}
	if there, err := has(); err != nil || !there {
		return fmt.Errorf("load image %s: the engine took it and does not have it: %w", name, err)
	}
	j.trimRoots(ctx, j.engine)
	return nil
}

// stream sends an image to the engine while it is being written.
func (j *job) stream(ctx context.Context, img *image.Image, name string) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(img.WriteDockerArchive(ctx, w, name)) }()
	defer r.Close()
	result, err := j.ImageLoad(ctx, r, client.ImageLoadWithQuiet(true))
	if err != nil {
		return err
	}
	defer result.Close()
	return drain(result)
}

// hidden returns the paths that are in the container but not in its root ware, and the
// modes that directories have there over which the engine mounts its own.
func (j *job) hidden() (paths []string, points map[string]uint32) {
	if j.root == "" {
		return nil, nil
	}
	points = map[string]uint32{}
	if info, err := os.Stat(j.root); err == nil { // an engine may give the root a mode of its own
		points["/"] = uint32(info.Mode().Perm())
	}
	made := engineMade
	if j.podman { // whose own file there is in a directory that it makes
		made = append([]string{"/run"}, made...)
	}
	for _, path := range made {
		var st unix.Stat_t
		switch err := unix.Lstat(j.root+path, &st); {
		case err != nil:
			paths = append(paths, path)
		case st.Mode&unix.S_IFMT == unix.S_IFDIR && path != "/tmp" && path != "/run":
			points[path] = st.Mode & 0o7777
		}
	}
	return paths, points
}

// lock makes this the only process, and goroutine, that has the lock of a name.
func lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
