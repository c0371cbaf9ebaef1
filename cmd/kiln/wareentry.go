package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/kilnbuild/kiln/pack"
)

// How times are shown to people: where a second is fine enough, and where it is not.
const (
	timeLayout = "2006-01-02 15:04:05"
	fineLayout = "2006-01-02 15:04:05.999999999"
)

// An entryDoc is an entry of a ware in JSON, docs/formats.md.
type entryDoc struct {
	Path         string  `json:"path"`
	PathBase64   string  `json:"path_base64,omitempty"`
	Type         string  `json:"type"`
	Mode         string  `json:"mode,omitempty"`
	UID          uint32  `json:"uid"`
	GID          uint32  `json:"gid"`
	Mtime        string  `json:"mtime"`
	Size         *int64  `json:"size,omitempty"`
	SHA256       string  `json:"sha256,omitempty"`
	Target       string  `json:"target,omitempty"`
	TargetBase64 string  `json:"target_base64,omitempty"`
	Major        *uint32 `json:"major,omitempty"`
	Minor        *uint32 `json:"minor,omitempty"`
}

func entryDocument(e *pack.ListedEntry) *entryDoc {
	if e == nil {
		return nil
	}
	doc := &entryDoc{Path: shownPath(e.Path), Type: e.Kind.String(), UID: e.UID, GID: e.GID, Mtime: mtimeText(e, time.RFC3339Nano)}
	doc.PathBase64, doc.Target, doc.TargetBase64 = notUTF8(e.Path), e.Link, notUTF8(e.Link)
	if e.Kind != pack.KindSymlink {
		doc.Mode = fmt.Sprintf("%04o", e.Mode)
	}
	switch e.Kind {
	case pack.KindFile:
		doc.Size, doc.SHA256 = &e.Size, e.SHA256
	case pack.KindBlock, pack.KindChar:
		doc.Major, doc.Minor = &e.Major, &e.Minor
	}
	return doc
}

// notUTF8 returns s in base64 if JSON cannot hold it as it is, else "".
func notUTF8(s string) string {
	if utf8.ValidString(s) {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(s))
}

// shownPath is the path of an entry as it is shown: "." for the root.
func shownPath(path string) string {
	if path == "" {
		return "."
	}
	return path
}

// mtimeText writes an entry's mtime in UTC. A year that is not one of four digits is
// written as @SECONDS.
func mtimeText(e *pack.ListedEntry, layout string) string {
	t := time.Unix(e.Sec, int64(e.Nsec)).UTC()
	// Far from 1970, time.Time overflows and shows some other year.
	if y := t.Year(); y < 0 || y > 9999 || t.Unix() != e.Sec || e.Sec > 1<<38 || e.Sec < -1<<38 {
		return fmt.Sprintf("@%d", e.Sec)
	}
	return t.Format(layout)
}

// modeText writes type and mode as ls does.
func modeText(e *pack.ListedEntry) string {
	b := []byte(map[pack.Kind]string{
		pack.KindFile: "-", pack.KindDir: "d", pack.KindSymlink: "l",
		pack.KindFifo: "p", pack.KindBlock: "b", pack.KindChar: "c",
	}[e.Kind] + "rwxrwxrwx")
	for i := range 9 {
		if e.Mode&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	for _, special := range []struct {
		bit  uint32
		at   int
		with string // where the entry can be executed, and where not
	}{{0o4000, 3, "sS"}, {0o2000, 6, "sS"}, {0o1000, 9, "tT"}} {
		if e.Mode&special.bit != 0 {
			if b[special.at] == 'x' {
				b[special.at] = special.with[0]
			} else {
				b[special.at] = special.with[1]
			}
		}
	}
	return string(b)
}

// writeJSONLine writes v as JSON on a line of its own, without ending it.
func writeJSONLine(w io.Writer, v any) error {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s", bytes.TrimSpace(line.Bytes()))
	return err
}
