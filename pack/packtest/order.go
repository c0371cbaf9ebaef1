package packtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
)

// order makes one fileset in several orders on each file system there is, sees that
// its directories really list in different ones, and expects one id.
func order(t *testing.T, p Packtype) {
	ctx := context.Background()
	var entries []Entry
	for i := range 40 {
		entries = append(entries, File(fmt.Sprintf("d/%c%d", 'z'-i%26, i), fmt.Sprint(i)), File(fmt.Sprintf("e%d.d/f", i), ""),
			File(fmt.Sprintf("e%d", i), ""), Symlink(fmt.Sprintf("l%d", i), "d"))
	}
	ids, listings := map[string]bool{}, map[string]bool{}
	l := Local(t, "")
	o := p.options(t, "")
	for _, top := range filesystems(t) {
		for seed := range uint64(4) {
			shuffled := slices.Clone(entries)
			rand.New(rand.NewPCG(seed, 0)).Shuffle(len(shuffled), func(i, j int) {
				shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
			})
			src := p.write(t, fmt.Sprintf("%s/%d", top, seed), shuffled...)
			names, err := listing(src + "/d")
			must(t, err)
			listings[names] = true
			scanned, err := pack.Scan(ctx, src, o)
			must(t, err)
			ids[scanned.ID.String()+" "+scanned.Tree.String()] = true
			if p.Pack != nil {
				rec := p.unpack(t, l, p.pack(t, src), o)
				ids[scanned.ID.String()+" "+rec.Tree.String()] = true
			}
		}
	}
	if len(ids) != 1 {
		t.Errorf("ids: %v", ids)
	}
	if len(listings) == 1 {
		t.Error("all directories list in one order: this tests nothing")
	}
}

// filesystems returns new directories on the file systems that tests can use: the
// temporary directory's, and a memory one.
func filesystems(t testing.TB) []string {
	tops := []string{tempDir(t)}
	if shm, err := os.MkdirTemp("/dev/shm", "packtest-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(shm) })
		tops = append(tops, shm)
	}
	return tops
}

// listing returns the names in a directory as the kernel lists them.
func listing(dir string) (string, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return strings.Join(names, " "), err
}
