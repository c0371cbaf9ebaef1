package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/pack/image"
)

// destinationHelp says what an output or a ware can be exported to.
const destinationHelp = `  PATH               a directory, missing or empty; for a ware that is one file, a file
  PATH.tar           a tar archive; also .tar.gz, .tgz, .tar.zst, .tzst
  PATH.zip           a zip archive
  dir:PATH, tar:PATH, zip:PATH
                     the same, whatever PATH ends with
  -                  a tar archive on standard output
  oci:PATH[:TAG]     a container image in an OCI layout, which is made or added to
  docker-archive:PATH[:NAME:TAG]
                     a container image in a file for docker load
  docker://REGISTRY/REPOSITORY[:TAG]
                     a container image in a registry, by docker's credentials`

// A destination is where a ware is exported to.
type destination struct {
	text   string // as written
	kind   destinationKind
	path   string // "-" of an archive: standard output
	format archive.Format
	ref    string // of images: the tag, the name or the whole reference; may be ""
}

type destinationKind string

const (
	toDir     destinationKind = "dir"
	toArchive destinationKind = "archive"

	toLayout        destinationKind = "oci"
	toDockerArchive destinationKind = "docker-archive"
	toRegistry      destinationKind = "docker"
)

// aScheme is what is before the colon of SCHEME:PATH. A path with a colon can be
// written dir:PATH, or ./PATH.
var aScheme = lazyregexp.New(`^([a-z][a-z0-9-]+):(.*)$`)

func parseDestination(text string) (destination, error) {
	d := destination{text: text, kind: toDir, path: text}
	if text == "" {
		return d, errors.New("a destination is not empty")
	}
	if m := aScheme.FindStringSubmatch(text); m != nil {
		if err := d.scheme(m[1], m[2]); err != nil {
			return d, fmt.Errorf("destination %s: %w", text, err)
		}
		return d, nil
	}
	if text == "-" {
		d.kind = toArchive
	} else if f, ok := archive.FormatOf(text); ok {
		d.kind, d.format = toArchive, f
	}
	return d, nil
}

func (d *destination) scheme(scheme, rest string) error {
	d.path = rest
	d.format, _ = archive.FormatOf(rest)
	switch scheme {
	case "dir":
		d.format = archive.Format{}
		if rest == "-" {
			return errors.New("a directory cannot go to standard output: write -, for a tar archive")
		}
	case "tar":
		d.kind = toArchive
		if d.format.Zip {
			d.format = archive.Format{}
		}
	case "zip":
		d.kind, d.format = toArchive, archive.Format{Zip: true}
	case "oci", "docker-archive":
		d.kind, d.format = destinationKind(scheme), archive.Format{}
		d.path, d.ref, _ = strings.Cut(rest, ":")
		return d.image()
	case "docker":
		d.kind, d.path = toRegistry, ""
		ref, ok := strings.CutPrefix(rest, "//")
		if d.ref = ref; !ok || ref == "" {
			return errors.New("it is written docker://REGISTRY/REPOSITORY:TAG")
		}
		return image.CheckReference(ref)
	default:
		return withHint(fmt.Errorf("%s is no kind of destination", scheme), "Destinations:\n"+destinationHelp)
	}
	if rest == "" {
		return errors.New("it needs a path")
	}
	return nil
}

// layoutTag is what a tag of an OCI layout may be; OCI image specification, annotation
// org.opencontainers.image.ref.name.
var layoutTag = lazyregexp.New(`^[A-Za-z0-9]+([-._:@/+]|--)?([A-Za-z0-9]+([-._:@/+]|--)?)*$`)

// image checks what comes after oci: and docker-archive:.
func (d *destination) image() error {
	switch {
	case d.path == "":
		return errors.New("it needs a path")
	case d.path == "-" && d.kind == toLayout:
		return errors.New("an OCI layout is a directory, which cannot go to standard output: write docker-archive:-")
	case d.ref == "":
		return nil
	case d.kind == toLayout && !layoutTag.MatchString(d.ref):
		return fmt.Errorf("%q is no tag: it has letters, digits and single -._:@/+ between them", d.ref)
	case d.kind == toDockerArchive:
		name, err := image.ArchiveName(d.ref)
		d.ref = name
		return err
	}
	return nil
}

// isImage reports whether an image is written to d.
func (d *destination) isImage() bool {
	return d.kind == toLayout || d.kind == toDockerArchive || d.kind == toRegistry
}

// stdout reports whether d is standard output.
func (d *destination) stdout() bool {
	return (d.kind == toArchive || d.kind == toDockerArchive) && d.path == "-"
}

// check finds before anything is made what would keep it from getting to d.
func (d *destination) check(overwrite bool) error {
	if err := d.look(overwrite); err != nil {
		return fmt.Errorf("destination %s: %w", d.text, err)
	}
	return nil
}

func (d *destination) look(overwrite bool) error {
	if d.stdout() || d.kind == toRegistry {
		return nil
	}
	if err := d.lookAtPath(overwrite); err != nil {
		return err
	}
	dir := filepath.Dir(filepath.Clean(d.path))
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

func (d *destination) lookAtPath(overwrite bool) error {
	if d.kind == toLayout {
		return image.CheckLayout(d.path)
	}
	info, err := os.Lstat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if strings.HasSuffix(d.path, "/") && d.kind != toDir {
			return errors.New("it ends with a slash, and it is a file that is written")
		}
		return nil
	case err != nil:
		return err
	case d.kind == toDir && info.IsDir():
		entries, err := os.ReadDir(d.path)
		if err == nil && len(entries) > 0 {
			err = errors.New("the directory is not empty")
		}
		return err
	case overwrite && info.Mode().IsRegular():
		return nil
	case info.Mode().IsRegular():
		return withHint(errors.New("there is a file already"), "Remove it, or write over it with --overwrite.")
	}
	if info.IsDir() {
		return errors.New("there is a directory already, and it is a file that is written")
	}
	return errors.New("what is there already is neither a file nor a directory")
}
