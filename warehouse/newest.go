package warehouse

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Newest returns the ids of all wares, also of aliases, the newest first. It reads no
// record: some may turn out to be damaged, or gone.
func (l *Local) Newest() ([]WareID, error) {
	packtypes, err := os.ReadDir(filepath.Join(l.dir, "record"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	type aged struct {
		id WareID
		at time.Time
	}
	var wares []aged
	for _, packtype := range packtypes {
		records, err := os.ReadDir(filepath.Join(l.dir, "record", packtype.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, record := range records {
			hash, ok := strings.CutSuffix(record.Name(), ".json")
			if !ok {
				continue
			}
			if info, err := record.Info(); err == nil {
				wares = append(wares, aged{WareID{packtype.Name(), hash}, info.ModTime()})
			}
		}
	}
	slices.SortStableFunc(wares, func(a, b aged) int { return b.at.Compare(a.at) })
	ids := make([]WareID, len(wares))
	for i, w := range wares {
		ids[i] = w.id
	}
	return ids, nil
}
