package docker

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/moby/client"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/file"
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// Where wares are in a container that shares no files with this machine: packed, on
// their way in and out.
const (
	storeDir = delegate.Dir + "/store"
	sinkDir  = delegate.Dir + "/sink"
)

func storeURL(dir string) string { return (&url.URL{Scheme: "ca+file", Path: dir}).String() }

// send puts the payload and the packed inputs into the container, which does not run yet.
func (j *job) send(ctx context.Context) error {
	dir, err := os.MkdirTemp(j.Warehouse.WorkDir(), "docker-send-")
	if err != nil {
		return err
	}
	defer warehouse.RemoveTree(dir)
	j.payload.Spec.Inputs = nil
	store, err := openStore(dir)
	if err != nil {
		return err
	}
	for _, in := range j.inputs { // as the trees that they are there: with their filters applied
		if err := store.Put(ctx, in.rec, j.Warehouse, warehouse.Transfer{}); err != nil {
			return fmt.Errorf("pack input %s: %w", in.Port, err)
		}
		in.Ware, in.Filters = in.rec.Tree, ""
		j.payload.Spec.Inputs = append(j.payload.Spec.Inputs, in.JobInput)
	}
	text, err := j.payload.Encode()
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	defer r.Close()
	go func() { w.CloseWithError(writeArchive(w, text, dir)) }()
	_, err = j.CopyToContainer(ctx, containerName(j.run.ID), client.CopyToContainerOptions{DestinationPath: "/", Content: r})
	if err != nil {
		return fmt.Errorf("send the inputs: %w", err)
	}
	return nil
}

// writeArchive writes what goes into a container: the payload, and the files below dir
// at storeDir.
func writeArchive(w io.Writer, payload []byte, dir string) error {
	tw := tar.NewWriter(w)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(sinkDir, "/") + "/", Mode: 0o755}); err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: strings.TrimPrefix(delegate.PayloadPath, "/"), Mode: 0o600, Size: int64(len(payload))}); err != nil {
		return err
	}
	if _, err := tw.Write(payload); err != nil {
		return err
	}
	if err := addStore(tw, dir); err != nil {
		return err
	}
	return tw.Close()
}

// addStore adds the files below dir to an archive, at storeDir.
func addStore(tw *tar.Writer, dir string) error {
	return filepath.WalkDir(dir, func(at string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		f, err := os.Open(at)
		if err != nil {
			return err
		}
		defer f.Close()
		name := strings.TrimPrefix(storeDir, "/") + strings.TrimPrefix(at, dir)
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: info.Size()}); err != nil {
			return err
		}
		_, err = io.Copy(tw, f)
		return err
	})
}

func openStore(dir string) (warehouse.Store, error) {
	objects, err := file.Open(dir)
	if err != nil {
		return nil, err
	}
	return packed.New(objects), nil
}

// takeOutputs brings the wares that a run has made into the warehouse. What the result
// says of them is not believed: they are hashed.
func (r *Runner) takeOutputs(ctx context.Context, e *engine, run exec.Run, result delegate.Result) error {
	var wanted []exec.JobOutput
	for _, o := range run.Spec.Outputs {
		id, ok := result.Outputs[o.Name]
		if !ok {
			return fmt.Errorf("output %s: the helper says nothing of it", o.Name)
		}
		if !r.Warehouse.Has(id) || pack.Check(ctx, r.Warehouse, id) != nil {
			wanted = append(wanted, o)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	at := filepath.Join(r.workDir(run.ID), filepath.Base(delegate.Warehouse))
	if _, err := os.Stat(at); err != nil {
		return r.receive(ctx, e, run.ID, wanted, result)
	}
	from, err := warehouse.OpenLocal(at)
	if err != nil {
		return err
	}
	defer from.Close()
	for _, o := range wanted {
		if err := r.adopt(ctx, from, o, result.Outputs[o.Name]); err != nil {
			return fmt.Errorf("output %s: %w", o.Name, err)
		}
	}
	return nil
}

// adopt takes an output from the helper's warehouse, which lies in ours: by renaming it,
// or where owners that are not on disk are part of it, by packing it again.
func (r *Runner) adopt(ctx context.Context, from *warehouse.Local, o exec.JobOutput, id warehouse.WareID) error {
	rec, err := from.Get(id)
	if err != nil {
		return err
	}
	if strings.Contains(o.Filters, "keep") {
		dir, err := os.MkdirTemp(from.Dir(), "packed-")
		if err != nil {
			return err
		}
		store, err := openStore(dir)
		if err != nil {
			return err
		}
		if err := store.Put(ctx, rec, from, warehouse.Transfer{}); err != nil {
			return err
		}
		_, err = store.Get(ctx, id, r.Warehouse, warehouse.Transfer{})
		return err
	}
	filters, err := pack.ParseFilters(o.Filters)
	if err != nil {
		return err
	}
	got, err := pack.Adopt(ctx, r.Warehouse, from.Fileset(rec), pack.Options{Packtype: o.Packtype, Filters: filters})
	if err == nil && got.ID != id {
		err = fmt.Errorf("the helper says that it is %s, and it is %s", id, got.ID)
	}
	return err
}

// receive gets packed outputs out of a container that is over.
func (r *Runner) receive(ctx context.Context, e *engine, id string, wanted []exec.JobOutput, result delegate.Result) error {
	dir, err := os.MkdirTemp(r.Warehouse.WorkDir(), "docker-receive-")
	if err != nil {
		return err
	}
	defer warehouse.RemoveTree(dir)
	store, err := openStore(dir)
	if err != nil {
		return err
	}
	for _, o := range wanted {
		ware := result.Outputs[o.Name]
		name := packed.Path(ware.String())
		if err := e.copyOut(ctx, id, path.Join(sinkDir, name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("output %s: %w", o.Name, err)
		}
		if _, err := store.Get(ctx, ware, r.Warehouse, warehouse.Transfer{}); err != nil {
			return fmt.Errorf("output %s: %w", o.Name, err)
		}
	}
	return nil
}

// copyOut copies a file out of a container.
func (e *engine) copyOut(ctx context.Context, id, from, to string) error {
	return e.open(ctx, id, from, func(r io.Reader) error {
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		f, err := os.Create(to)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	})
}

// maxResult is more than a result has: thousands of outputs.
const maxResult = 8 << 20

// fileIn returns what is in a file of a container; nil if there is none.
func (e *engine) fileIn(ctx context.Context, id, path string) (text []byte, err error) {
	err = e.open(ctx, id, path, func(r io.Reader) error {
		text, err = io.ReadAll(io.LimitReader(r, maxResult))
		return err
	})
	if gone(err) {
		return nil, nil
	}
	return text, err
}

// open reads a regular file of a container, which engines give as an archive.
func (e *engine) open(ctx context.Context, id, path string, read func(io.Reader) error) error {
	got, err := e.CopyFromContainer(ctx, containerName(id), client.CopyFromContainerOptions{SourcePath: path})
	if err != nil {
		return fmt.Errorf("get %s from the container: %w", path, err)
	}
	defer got.Content.Close()
	tr := tar.NewReader(got.Content)
	head, err := tr.Next()
	if err == nil && head.Typeflag != tar.TypeReg {
		err = errors.New("it is no file")
	}
	if err == nil {
		err = read(tr)
	}
	if err != nil {
		return fmt.Errorf("get %s from the container: %w", path, err)
	}
	return nil
}

// drain reads what an engine says of an image that it loads, and returns its complaint.
func drain(r io.Reader) error {
	dec := json.NewDecoder(r)
	for {
		var line struct{ Error string }
		switch err := dec.Decode(&line); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read what the engine says: %w", err)
		case line.Error != "":
			return errors.New(line.Error)
		}
	}
}

// containers returns the ids of the runs of this registry that have a container.
func (r *Runner) containers(ctx context.Context, e *engine) (ids []string, err error) {
	filters := make(client.Filters).Add("label", labelRuns+"="+r.runsDir())
	result, err := e.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if err != nil {
		return nil, fmt.Errorf("list the engine's containers: %w", err)
	}
	for _, c := range result.Items {
		ids = append(ids, c.Labels[labelRun])
	}
	return ids, nil
}
