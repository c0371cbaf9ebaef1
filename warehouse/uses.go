package warehouse

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Uses remembers what formulas use, one file for each lock file: which wares and which
// memos its last run took. The file's mtime is when that was. So one look at one file
// says of ten thousand steps that they were used.
type Uses struct{ dir string }

// OpenUses returns the uses kept in dir, which is made when there is something to keep.
func OpenUses(dir string) *Uses { return &Uses{dir} }

// A Use is what a formula uses.
type Use struct {
	Lock    string `json:"lock"`    // path of the lock file, which need not exist
	Formula string `json:"formula"` // path of the formula's directory
	Locked  bool   `json:"locked"`  // there was a lock file; set by Note

	Digest string    `json:"-"` // changes when what is used does
	Wares  []WareID  `json:"-"`
	Memos  []StepKey `json:"-"`
}

const useTag = "kiln use 1 "

// useAfter is how exactly it is known when a formula last ran.
const useAfter = time.Hour

func (u *Uses) path(lock string) string {
	sum := sha256.Sum256([]byte(lock))
	return filepath.Join(u.dir, hex.EncodeToString(sum[:16]))
}

// Note says that a formula was used now. If nothing is different from the last time, as
// the digest tells, it is a look at one file: more is then called for nothing. Memos
// that are not used any more keep the time at which they last were.
func (u *Uses) Note(use Use, memos *Memos, more func(*Use)) error {
	path := u.path(use.Lock)
	if sameUse(path, use.Digest) {
		touchAfter(path, useAfter)
		return nil
	}
	more(&use)
	if err := u.age(path, &use, memos); err != nil {
		return fmt.Errorf("note what %s uses: %w", use.Lock, err)
	}
	if err := u.write(path, &use); err != nil {
		return fmt.Errorf("note what %s uses: %w", use.Lock, err)
	}
	return nil
}

// NoteWares says that a formula's wares were used now, and adds them to what it used
// before.
func (u *Uses) NoteWares(lock, formula string, wares []WareID) error {
	path := u.path(lock)
	use := Use{Lock: lock, Formula: formula, Digest: "fetched"}
	known := map[WareID]bool{}
	for _, id := range wares {
		known[id] = true
	}
	use.Wares = wares
	err := readUse(path, func(*Use, time.Time) {}, func(id WareID) {
		if !known[id] {
			use.Wares = append(use.Wares, id)
		}
	}, func(key StepKey) { use.Memos = append(use.Memos, key) })
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = u.write(path, &use)
	}
	if err != nil {
		return fmt.Errorf("note what %s uses: %w", lock, err)
	}
	return nil
}

func sameUse(path, digest string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := useTag + digest + "\n"
	line := make([]byte, len(head))
	_, err = io.ReadFull(f, line)
	return err == nil && string(line) == head
}

// age writes down when the memos were last used that the file names and use does not.
func (u *Uses) age(path string, use *Use, memos *Memos) error {
	now := make(map[StepKey]bool, len(use.Memos))
	for _, key := range use.Memos {
		now[key] = true
	}
	var last time.Time
	err := readUse(path, func(_ *Use, at time.Time) { last = at }, func(WareID) {}, func(key StepKey) {
		if !now[key] {
			memos.Touch(key, last.UnixNano())
		}
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (u *Uses) write(path string, use *Use) error {
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(u.dir, ".new-")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	if _, err := os.Lstat(use.Lock); err == nil {
		use.Locked = true
	}
	head, err := json.Marshal(use)
	fmt.Fprintf(w, "%s%s\n%s\n", useTag, use.Digest, head)
	for _, id := range use.Wares {
		fmt.Fprintf(w, "ware %s\n", id)
	}
	for _, key := range use.Memos {
		w.WriteString("memo " + string(key) + "\n")
	}
	err = errors.Join(err, w.Flush(), f.Close())
	if err == nil {
		err = unix.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// A Visitor is shown uses, line by line: a use may name a million memos.
type Visitor struct {
	Begin func(use *Use, last time.Time) // without Wares and Memos
	Ware  func(WareID)
	Memo  func(StepKey)
}

// Each shows every use. A file that is none of ours, or damaged, is left out.
func (u *Uses) Each(ctx context.Context, v Visitor) error {
	err := eachName(ctx, u.dir, func(name string) error {
		if strings.HasPrefix(name, ".") {
			return nil
		}
		err := readUse(filepath.Join(u.dir, name), v.Begin, v.Ware, v.Memo)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read what formulas use: %w", err)
	}
	return nil
}

// Forget removes what is known of a lock file's use.
func (u *Uses) Forget(lock string) error {
	err := os.Remove(u.path(lock))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func readUse(path string, begin func(*Use, time.Time), ware func(WareID), memo func(StepKey)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r := bufio.NewReader(f)
	tag, _ := r.ReadString('\n')
	head, err := r.ReadString('\n')
	digest, ok := strings.CutPrefix(tag, useTag)
	use := &Use{Digest: strings.TrimSpace(digest)}
	if err != nil || !ok || json.Unmarshal([]byte(head), use) != nil {
		return nil
	}
	begin(use, info.ModTime())
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil // a last line without an end was not written whole
		}
		kind, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch kind {
		case "ware":
			if id, err := ParseWareID(text); err == nil {
				ware(id)
			}
		case "memo":
			memo(StepKey(text))
		}
	}
}
