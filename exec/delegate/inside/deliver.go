package inside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// deliver writes the result where the runner looks for it.
func (h *helper) deliver(ctx context.Context) error {
	text, err := json.Marshal(h.result)
	if err != nil {
		return err
	}
	if h.ResultLimit > 0 && len(text) > h.ResultLimit {
		if text, err = h.shorten(ctx, text); err != nil {
			return fmt.Errorf("deliver a result of more than %d bytes: %w", h.ResultLimit, err)
		}
	}
	path := h.Payload.Result
	if path == "" {
		path = delegate.ResultPath
	}
	if err := write(path, append(text, '\n')); err != nil {
		return fmt.Errorf("deliver the result: %w", err)
	}
	if h.local != nil {
		h.local.Close()
	}
	return nil
}

// shorten sends the result to the sink and returns one that says so. Without outputs
// to name it cuts the message instead.
func (h *helper) shorten(ctx context.Context, text []byte) ([]byte, error) {
	if len(h.result.Outputs) == 0 {
		return h.cutMessage(text)
	}
	local, err := h.warehouse()
	if err != nil {
		return nil, err
	}
	sink, err := h.sink(ctx)
	if err == nil && sink == nil {
		err = errors.New("there is no warehouse to send it to")
	}
	if err != nil {
		return nil, err
	}
	dir, err := local.Stage("result")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	at := filepath.Join(dir, "result.json")
	if err := os.WriteFile(at, text, 0o644); err != nil {
		return nil, err
	}
	rec, err := pack.Ingest(ctx, local, at, pack.Options{})
	if err == nil {
		err = sink.Put(ctx, rec, local, warehouse.Transfer{})
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(delegate.Result{Version: h.result.Version, Run: h.Run, Offline: exec.OfflineNone, Ware: rec.ID})
}

// cutMessage makes the message as short as it has to be.
func (h *helper) cutMessage(text []byte) ([]byte, error) {
	whole := h.result.Message
	for keep := len(whole); len(text) > h.ResultLimit && keep > 0; {
		keep -= min(keep, max(1, (len(text)-h.ResultLimit)/2))
		h.result.Message = strings.ToValidUTF8(whole[:keep], "") + "…"
		var err error
		if text, err = json.Marshal(h.result); err != nil {
			return nil, err
		}
	}
	return text, nil
}

// write writes a file whole or not at all. What is mounted there, as the termination
// log of a pod is, cannot be replaced: it is written to.
func write(path string, text []byte) error {
	tmp := path + ".new"
	err := os.WriteFile(tmp, text, 0o644)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		return nil
	}
	os.Remove(tmp)
	f, openErr := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o644)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
