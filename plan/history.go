package plan

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/kilnbuild/kiln/warehouse"
)

// A History remembers of what the key of each step of one formula was made when
// the step last ended well, so that a key that differs can be explained. It is a
// cache: without it nothing is lost but the explanation.
type History struct {
	path string
	load sync.Once
	last map[string]past // by step address
}

// past is one step's last key and the parts it was made of.
type past struct {
	key   string
	parts []part
}

const historyTag = "kiln history 1 "

// OpenHistory opens the history of the formula of p, kept in a file below dir, a
// cache directory. It is read when needed; a file that cannot be read is as good
// as none.
func (p *Plan) OpenHistory(dir string) *History {
	name := p.Formula.Dir
	if p.sources != nil {
		name = p.sources.lockPath
	}
	sum := sha256.Sum256([]byte(name))
	return &History{path: filepath.Join(dir, hex.EncodeToString(sum[:16])+".json")}
}

// get returns what is known of the step at addr.
func (h *History) get(addr string) (past, bool) {
	h.load.Do(func() {
		if _, body, ok := h.read(); ok {
			h.last = decodeHistory(body)
		}
	})
	p, ok := h.last[addr]
	return p, ok
}

// read returns the file's digest and body; false if it is not one of ours.
func (h *History) read() (digest string, body []byte, ok bool) {
	data, err := os.ReadFile(h.path)
	if err != nil {
		return "", nil, false
	}
	head, body, ok := bytes.Cut(data, []byte("\n"))
	digest, tagged := strings.CutPrefix(string(head), historyTag)
	return digest, body, ok && tagged
}

// memoPath is where the memos of the formula are cached.
func (h *History) memoPath() string { return strings.TrimSuffix(h.path, ".json") + ".memos" }

// Save remembers the steps that have ended well: done is false for the others, of
// which what was known before is kept. Steps that the formula does not have now are
// forgotten. Nothing is written when nothing changed. memos are those of the steps;
// a later Explain reads them faster for it. If that cannot be written, what is returned
// beside the error is right nevertheless; it has no Digest if the steps have no keys.
func (h *History) Save(p *Plan, memos *warehouse.Memos, outputs OutputFunc, done func(*Step) bool) (Saved, error) {
	resolved := make([]Resolved, 0, len(p.Steps))
	digest := sha256.New()
	for _, s := range p.Steps {
		if !done(s) {
			continue
		}
		r, err := p.ResolveStep(s, outputs)
		if err != nil {
			return Saved{}, fmt.Errorf("remember why: %w", err)
		}
		resolved = append(resolved, r)
		digest.Write([]byte(s.Addr + "\x00" + string(r.Key) + "\n"))
	}
	sum := hex.EncodeToString(digest.Sum(nil))
	saved := Saved{sum, resolved}
	if was, ok := h.digest(); ok && was == sum || len(resolved) == 0 {
		return saved, nil
	}
	h.get("")
	next := make(map[string]past, len(resolved))
	for addr, old := range h.last {
		if p.ByAddr[addr] != nil || len(p.Formula.Pending) > 0 { // which steps there are is not known
			next[addr] = old
		}
	}
	for i := range resolved {
		r := &resolved[i]
		next[r.Addr] = past{string(r.Key), partsOf(r)}
	}
	err := replaceCache(h.path, append([]byte(historyTag+sum+"\n"), encodeHistory(next)...))
	if err == nil && len(resolved) >= cacheFrom {
		err = replaceCache(h.memoPath(), encodeMemoCache(memos, resolved))
	}
	if err != nil {
		return saved, fmt.Errorf("remember why: %w", err)
	}
	h.last = next
	return saved, nil
}

// Saved is what Save was told of: steps that have ended well.
type Saved struct {
	Digest   string // of their addresses and keys
	resolved []Resolved
}

// Keys returns the keys of the steps.
func (s Saved) Keys() []warehouse.StepKey {
	keys := make([]warehouse.StepKey, len(s.resolved))
	for i := range s.resolved {
		keys[i] = s.resolved[i].Key
	}
	return keys
}

// digest reads only the file's first line.
func (h *History) digest() (string, bool) {
	f, err := os.Open(h.path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	line := make([]byte, len(historyTag)+2*sha256.Size)
	if _, err := f.ReadAt(line, 0); err != nil {
		return "", false
	}
	return strings.CutPrefix(string(line), historyTag)
}

// replaceCache gives the file at path the content data. It is not synced: after a
// power cut it may be gone, or cut short.
func replaceCache(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = cmp.Or(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// historyFile is a history's body: each text once, and steps as indexes of texts.
type historyFile struct {
	Texts []string `json:"texts"`
	Steps [][]int  `json:"steps"` // address, key, then kind, name, value of each part
}

func encodeHistory(steps map[string]past) []byte {
	var file historyFile
	index := map[string]int{}
	text := func(s string) int {
		i, ok := index[s]
		if !ok {
			i = len(file.Texts)
			index[s] = i
			file.Texts = append(file.Texts, s)
		}
		return i
	}
	for _, addr := range slices.Sorted(maps.Keys(steps)) {
		p := steps[addr]
		row := make([]int, 0, 2+3*len(p.parts))
		row = append(row, text(addr), text(p.key))
		for _, part := range p.parts {
			row = append(row, text(part.kind), text(part.name), text(part.value))
		}
		file.Steps = append(file.Steps, row)
	}
	data, err := json.Marshal(file)
	if err != nil {
		return nil // not possible for strings and ints
	}
	return append(data, '\n')
}

func decodeHistory(body []byte) map[string]past {
	var file historyFile
	if json.Unmarshal(body, &file) != nil {
		return nil
	}
	steps := make(map[string]past, len(file.Steps))
	for _, row := range file.Steps {
		texts := make([]string, len(row))
		for i, n := range row {
			if n < 0 || n >= len(file.Texts) {
				return nil
			}
			texts[i] = file.Texts[n]
		}
		if len(texts) < 2 || len(texts)%3 != 2 {
			return nil
		}
		p := past{key: texts[1], parts: make([]part, 0, len(texts)/3)}
		for i := 2; i < len(texts); i += 3 {
			p.parts = append(p.parts, part{texts[i], texts[i+1], texts[i+2]})
		}
		steps[texts[0]] = p
	}
	return steps
}

// MadeBy makes an OutputFunc of outputs by step address and output name.
func MadeBy(steps map[string]map[string]warehouse.WareID) OutputFunc {
	return func(s *Step, output string) (warehouse.WareID, bool) {
		id, ok := steps[s.Addr][output]
		return id, ok
	}
}
