package warehouse

import "golang.org/x/sys/unix"

// Exists reports whether there is a record of the ware, without reading it: ten
// times as fast as Has, for looking at thousands of wares. An empty record, which
// a power cut can leave, does not count. Only a tree is so simple: any other ware may
// be an alias.
func (l *Local) Exists(id WareID) bool {
	if id.Packtype != "tree" {
		return l.Has(id)
	}
	p, err := l.place(id)
	if err != nil {
		return false
	}
	var st unix.Stat_t
	err = retry(func() error { return unix.Lstat(p.record, &st) })
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size > 0
}
