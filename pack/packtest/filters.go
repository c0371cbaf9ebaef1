package packtest

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
)

// filtered has something for each filter to change.
func filtered() []Entry {
	return []Entry{
		Dir("d").mode(0o1777), File("d/f", "f").owner(7, 8), File("suid", "s").mode(0o4755), Dir("sgid").mode(0o2755),
		File("sgid/f", ""), Symlink("l", "d/f").owner(9, 10),
		{Header: tar.Header{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o640, ModTime: Then}},
		// Device 0:0 stands for nothing, so that anybody may make it.
		{Header: tar.Header{Name: "device", Typeflag: tar.TypeChar, Mode: 0o640, ModTime: Then}},
	}
}

// A filterCase says what one value of a filter does, by what one would have to do by
// hand to what is packed.
type filterCase struct {
	pack, unpack string // the value; "" if only the other has it
	change       change
	rejects      string // an entry
	root         bool   // change needs root
}

// A change does to the fileset at root what a filter would do.
type change func(t testing.TB, p Packtype, root string) error

// each calls f for everything below root.
func each(root string, f func(p string, info os.FileInfo) error) error {
	return filepath.Walk(root, func(p string, info os.FileInfo, err error) error { return errors.Join(err, f(p, info)) })
}

func clearMode(bits uint32) change {
	return func(_ testing.TB, _ Packtype, root string) error {
		return each(root, func(p string, info os.FileInfo) error {
			var st unix.Stat_t
			if err := unix.Lstat(p, &st); err != nil || info.Mode()&os.ModeSymlink != 0 || st.Mode&bits == 0 {
				return err
			}
			return unix.Chmod(p, st.Mode&0o7777&^bits)
		})
	}
}

func chown(uid, gid int) change {
	return func(_ testing.TB, _ Packtype, root string) error {
		return each(root, func(p string, info os.FileInfo) error {
			var st unix.Stat_t
			err := errors.Join(unix.Lstat(p, &st), os.Lchown(p, uid, gid))
			if info.Mode()&os.ModeSymlink == 0 { // chown clears set-id bits
				err = errors.Join(err, unix.Chmod(p, st.Mode&0o7777))
			}
			return err
		})
	}
}

func stamp(at time.Time) change {
	return func(t testing.TB, _ Packtype, root string) error { touch(t, root, at); return nil }
}

func nothing(testing.TB, Packtype, string) error { return nil }

var filterCases = map[string][]filterCase{
	"uid": {
		{pack: "keep", unpack: "follow", change: nothing},
		{pack: "4242", unpack: "4242", change: chown(4242, -1), root: true},
		{pack: "0", unpack: "0", change: chown(0, -1), root: true},
		{unpack: "mine", change: chown(os.Getuid(), -1)},
	},
	"gid": {
		{pack: "keep", unpack: "follow", change: nothing},
		{pack: "4242", unpack: "4242", change: chown(-1, 4242), root: true},
		{pack: "0", unpack: "0", change: chown(-1, 0), root: true},
		{unpack: "mine", change: chown(-1, os.Getgid())},
	},
	"mtime": {
		{pack: "keep", unpack: "follow", change: nothing},
		{pack: "@1600000000", unpack: "@1600000000", change: stamp(time.Unix(1600000000, 0))},
		{pack: "@-5", unpack: "@-5", change: stamp(time.Unix(-5, 0))},
		{pack: "2020-09-13T12:26:40.000000005Z", unpack: "2020-09-13T12:26:40.000000005Z", change: stamp(time.Unix(1600000000, 5))},
	},
	"sticky": {
		{pack: "keep", unpack: "follow", change: nothing},
		{pack: "ignore", unpack: "ignore", change: clearMode(0o1000)},
	},
	"setid": {
		{pack: "keep", unpack: "follow", change: nothing},
		{pack: "ignore", unpack: "ignore", change: clearMode(0o6000)},
		{pack: "reject", unpack: "reject", rejects: "suid sgid"},
	},
	"dev": {
		{pack: "keep", unpack: "follow", change: nothing},
		{pack: "ignore", unpack: "ignore", change: func(t testing.TB, p Packtype, root string) error {
			err := os.Remove(root + "/device")
			if p.isTree() { // the others take named pipes as they are
				err = errors.Join(err, os.Remove(root+"/pipe"))
			}
			setMtime(t, root, Then)
			return err
		}},
		{pack: "reject", unpack: "reject", rejects: "device pipe"},
	},
}

// filters tries each value of each filter, packing and unpacking, all in one warehouse:
// what was made with one filter never stands for what is asked for with another. Ids
// that leave something out have one each: there, two filesets can have one id.
func filters(t *testing.T, p Packtype) {
	ctx := context.Background()
	if p.Loses != 0 { // there may be more that the tool loses than the form
		p.Loses = p.EncodeLoses
		p.Pack = func(t testing.TB, dir, dst string) {
			p.Encode(t, dst, asWritten(append(p.kept(filtered()), Dir(".")))...)
		}
	}
	if p.Loses&LosesModes != 0 {
		t.Skip("the packed form keeps too little of what filters change")
	}
	l := Local(t, "")
	for key, cases := range filterCases {
		if key == "dev" && p.Loses&LosesSpecial != 0 {
			continue
		}
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s=%s,%s", key, c.pack, c.unpack), func(t *testing.T) {
				if c.root && os.Getuid() != 0 {
					t.Skip("giving files away needs root")
				}
				l := l
				if p.Packtype != pack.Tree {
					l = Local(t, "")
				}
				src := p.write(t, tempDir(t)+"/src", filtered()...)
				got := map[string]func() (pack.Result, error){}
				if c.pack != "" {
					o := p.options(t, replace(keepAll, key, c.pack))
					got["scan"] = func() (pack.Result, error) { return pack.Scan(ctx, src, o) }
					got["ingest"] = func() (pack.Result, error) {
						rec, err := pack.Ingest(ctx, l, src, o)
						return pack.Result{ID: rec.ID, Tree: rec.Tree}, err
					}
				}
				if c.unpack != "" && p.Pack != nil {
					f, err := pack.ParseUnpackFilters(replace(strings.ReplaceAll(keepAll, "keep", "follow"), key, c.unpack))
					must(t, err)
					packed := p.pack(t, src)
					got["unpack"] = func() (pack.Result, error) {
						rec, err := p.Unpack(ctx, l, packed, pack.BuildOptions{Name: "packed", Options: pack.Options{Packtype: p.Packtype, Filters: f}})
						return pack.Result{ID: rec.ID, Tree: rec.Tree}, err
					}
				}
				if c.rejects != "" {
					for way, f := range got {
						if _, err := f(); err == nil || !namesOne(err, strings.Fields(c.rejects)) {
							t.Errorf("%s: %v", way, err)
						}
					}
					return
				}
				changed := p.write(t, tempDir(t)+"/src", filtered()...)
				must(t, c.change(t, p, changed))
				want, err := pack.Scan(ctx, changed, p.options(t, keepAll))
				must(t, err)
				for way, f := range got {
					if r, err := f(); err != nil || r.ID != want.ID || r.Tree != want.Tree {
						t.Errorf("%s: got %s, %s, %v; want %s, %s", way, r.ID, r.Tree, err, want.ID, want.Tree)
					}
				}
			})
		}
	}
}

// asWritten gives entries the owners that write can give them.
func asWritten(entries []Entry) []Entry {
	if os.Getuid() == 0 {
		return entries
	}
	for i := range entries {
		entries[i].Uid, entries[i].Gid = os.Getuid(), os.Getgid()
	}
	return entries
}

func replace(filters, key, value string) string {
	var out []string
	for part := range strings.SplitSeq(filters, ",") {
		if k, _, _ := strings.Cut(part, "="); k == key {
			part = k + "=" + value
		}
		out = append(out, part)
	}
	return strings.Join(out, ",")
}

// namesOne reports whether an error names one of the entries.
func namesOne(err error, entries []string) bool {
	for _, e := range entries {
		for _, written := range []string{e, "./" + e, "./" + e + "/"} {
			if strings.Contains(err.Error(), fmt.Sprintf("%q", written)) {
				return true
			}
		}
	}
	return false
}
