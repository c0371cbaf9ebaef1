package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/rogpeppe/go-internal/diff"
)

// maxDiffText is how large files may be whose lines are compared: the largest sources
// that people write are below it.
const maxDiffText = 1 << 20

// A diffTeller prints differences as they are found.
type diffTeller struct {
	ctx      context.Context
	out      *bufio.Writer
	old, new *operand
	flags    *diffFlags
	terminal bool // it is what out writes to
	color    bool

	added, removed, changed int
}

// differenceDoc is one difference in what kiln ware diff --json prints.
type differenceDoc struct {
	Path       string    `json:"path"`
	PathBase64 string    `json:"path_base64,omitempty"`
	What       string    `json:"what"` // added, removed, changed
	In         []string  `json:"in,omitempty"`
	Old        *entryDoc `json:"old,omitempty"`
	New        *entryDoc `json:"new,omitempty"`
	Text       string    `json:"text,omitempty"` // the change of content, as diff -u
}

// sideDoc is A or B in it.
type sideDoc struct {
	Name string           `json:"name"`
	ID   warehouse.WareID `json:"id"`
	Tree warehouse.WareID `json:"tree"`
}

func (t *diffTeller) head() {
	side := func(op *operand) string {
		data, _ := json.Marshal(sideDoc{op.name, op.ID, op.Tree})
		return string(data)
	}
	fmt.Fprintf(t.out, "{\"a\": %s,\n\"b\": %s,\n\"differences\": [", side(t.old), side(t.new))
}

func (t *diffTeller) end() {
	switch {
	case t.flags.asJSON:
		fmt.Fprint(t.out, "\n]}\n")
	case t.flags.stat:
		fmt.Fprintln(t.out, t.summary())
	}
}

// tell prints one difference.
func (t *diffTeller) tell(d *pack.Difference) error {
	what, n, c := "changed", &t.changed, cyan
	switch {
	case d.Old == nil:
		what, n, c = "added", &t.added, green
	case d.New == nil:
		what, n, c = "removed", &t.removed, red
	}
	first := t.added+t.removed+t.changed == 0
	*n++
	switch {
	case t.flags.nameOnly:
		_, err := fmt.Fprintln(t.out, harmlessName(shownPath(d.Path)))
		return err
	case t.flags.asJSON:
		return t.tellJSON(d, what, first)
	}
	path := harmlessName(shownPath(d.Path))
	if e := cmp.Or(d.New, d.Old); e.Kind == pack.KindDir && d.Path != "" {
		path += "/"
	}
	text, note, err := t.content(d)
	if err != nil {
		return err
	}
	line := c.on(t.color, fmt.Sprintf("%-7s", what)) + "  " + path
	if len(d.What) > 0 {
		line += "  " + dim.on(t.color, strings.Join(inWhat(d, note), ", "))
	}
	fmt.Fprintln(t.out, line)
	return t.lines(text)
}

// inWhat says in what an entry has changed, with what it was and is.
func inWhat(d *pack.Difference, note string) (texts []string) {
	for _, what := range d.What {
		var old, new string
		switch what {
		case "type":
			old, new = d.Old.Kind.String(), d.New.Kind.String()
		case "content":
			what += note
			old, new = byteSize(d.Old.Size), byteSize(d.New.Size)
			if old == new {
				texts = append(texts, what)
				continue
			}
		case "target":
			old, new = harmlessName(d.Old.Link), harmlessName(d.New.Link)
		case "device":
			old, new = fmt.Sprintf("%d,%d", d.Old.Major, d.Old.Minor), fmt.Sprintf("%d,%d", d.New.Major, d.New.Minor)
		case "mode":
			old, new = fmt.Sprintf("%04o", d.Old.Mode), fmt.Sprintf("%04o", d.New.Mode)
		case "owner":
			old, new = fmt.Sprintf("%d:%d", d.Old.UID, d.Old.GID), fmt.Sprintf("%d:%d", d.New.UID, d.New.GID)
		case "mtime":
			old, new = mtimeText(d.Old, fineLayout), mtimeText(d.New, fineLayout)
		}
		texts = append(texts, fmt.Sprintf("%s %s → %s", what, old, new))
	}
	return texts
}

func (t *diffTeller) tellJSON(d *pack.Difference, what string, first bool) error {
	text, _, err := t.content(d)
	if err != nil {
		return err
	}
	doc := differenceDoc{
		Path: shownPath(d.Path), PathBase64: notUTF8(d.Path), What: what, In: d.What,
		Old: entryDocument(d.Old), New: entryDocument(d.New), Text: string(text),
	}
	if !first {
		t.out.WriteByte(',')
	}
	return writeJSONLine(t.out, doc)
}

// content compares the content of files that have changed, and returns the difference
// as diff -u writes it, or a note why not.
func (t *diffTeller) content(d *pack.Difference) (text []byte, note string, err error) {
	if len(d.What) == 0 || d.What[0] != "content" || t.flags.stat || t.flags.nameOnly {
		return nil, "", nil
	}
	if d.Old.Size > maxDiffText || d.New.Size > maxDiffText {
		return nil, " (too large to be shown)", nil
	}
	old, err := readEntry(t.ctx, t.old, d.Old)
	if err != nil {
		return nil, "", err
	}
	new, err := readEntry(t.ctx, t.new, d.New)
	if err != nil {
		return nil, "", err
	}
	if !isText(old) || !isText(new) {
		return nil, " (binary)", nil
	}
	text = diff.Diff(sidePath(t.old, d.Path), old, sidePath(t.new, d.Path), new)
	_, text, _ = bytes.Cut(text, []byte("\n")) // "diff OLD NEW"
	return text, "", nil
}

// sidePath names a file of one side in the head of its lines.
func sidePath(op *operand, path string) string {
	if path == "" {
		return harmlessName(op.name)
	}
	return harmlessName(strings.TrimSuffix(op.name, "/") + "/" + path)
}

func readEntry(ctx context.Context, op *operand, e *pack.ListedEntry) ([]byte, error) {
	file, err := op.Open(ctx, *e)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", op.name, err)
	}
	defer file.Close()
	return io.ReadAll(file)
}

func isText(data []byte) bool {
	return utf8.Valid(data) && !bytes.ContainsRune(data, 0)
}

// lines prints lines of a difference. On a terminal they are coloured, and control
// characters in them shown as escapes; else they are as they are, for patch(1).
func (t *diffTeller) lines(text []byte) error {
	if !t.terminal {
		_, err := t.out.Write(text)
		return err
	}
	for line := range bytes.Lines(text) {
		c := plain
		switch line[0] {
		case '+':
			c = green
		case '-':
			c = red
		case '@':
			c = cyan
		}
		shown := harmless(strings.TrimSuffix(string(line), "\n"), false)
		if _, err := fmt.Fprintln(t.out, c.on(t.color, shown)); err != nil {
			return err
		}
	}
	return nil
}
