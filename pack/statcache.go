package pack

// A StatCache remembers the content digests of files by their stat, so that a
// fileset scanned before is only looked at again where it has changed.
type StatCache struct{ file string }

// OpenStatCache opens the cache kept in file, which need not exist yet. A file that
// cannot be read as a cache counts as an empty one.
func OpenStatCache(file string) (*StatCache, error) { return &StatCache{file: file}, nil }
