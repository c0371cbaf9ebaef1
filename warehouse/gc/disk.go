package gc

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/warehouse"
)

// DiskUsage returns how many bytes what lies at path takes on disk, as st_blocks says: of
// a file that has several names, each one's share. What cannot be looked into counts as
// far as it can be seen. Nothing there is nothing.
func DiskUsage(ctx context.Context, path string) (int64, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			return 0, nil
		}
		return diskOf(&st), nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	below, err := diskBelow(ctx, fd, path)
	return diskOf(&st) + below, err
}

// diskBelow is DiskUsage for what is in the directory fd, which it closes.
func diskBelow(ctx context.Context, fd int, name string) (sum int64, err error) {
	d := os.NewFile(uintptr(fd), name)
	defer d.Close()
	for {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		names, err := d.Readdirnames(512)
		for _, name := range names {
			var st unix.Stat_t
			if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			sum += diskOf(&st)
			if st.Mode&unix.S_IFMT != unix.S_IFDIR {
				continue
			}
			child, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				continue
			}
			below, err := diskBelow(ctx, child, name)
			if sum += below; err != nil {
				return sum, err
			}
		}
		if len(names) == 0 || err != nil {
			return sum, nil // io.EOF, or what cannot be read
		}
	}
}

func diskOf(st *unix.Stat_t) int64 {
	disk := st.Blocks * 512
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		disk /= int64(st.Nlink)
	}
	return disk
}

// measure adds to each ware what its fileset takes, looking at several at once.
func (c *collection) measure() error {
	g, ctx := errgroup.WithContext(c.ctx)
	const part = 256
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	for from := 0; from < len(c.wares); from += part {
		g.Go(func() error {
			for i := from; i < min(from+part, len(c.wares)); i++ {
				w := &c.wares[i]
				if w.alias {
					continue
				}
				disk, err := DiskUsage(ctx, fileset(c.o.Warehouse, w.id))
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				w.disk += disk
			}
			return nil
		})
	}
	return g.Wait()
}

// fileset is where the fileset of a ware that is no alias lies.
func fileset(l *warehouse.Local, id warehouse.WareID) string {
	return l.Fileset(warehouse.Record{ID: id})
}
