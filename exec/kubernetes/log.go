package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/kubernetes/api"
	"github.com/kilnbuild/kiln/exec/registry"
)

// A logCopy copies the log of a pod's container to the run's stdout.log while it is written.
type logCopy struct {
	pod  string // uid
	stop context.CancelFunc
	done chan struct{}
}

// logPatience is how long the end of a log is waited for when its container has ended and no
// byte of it comes.
const logPatience = 20 * time.Second

// follow begins to copy the log of the run's pod when its container has started. That of a
// pod before it, which was preempted, has ended.
func (k *carrier) follow(ctx context.Context, v view) {
	if v.pod == nil || !begun(v.pod) || k.log != nil && k.log.pod == v.pod.Metadata.UID {
		return
	}
	k.closeLog()
	from, err := k.place(v.pod.Metadata.UID)
	if err != nil {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	k.log = &logCopy{pod: v.pod.Metadata.UID, stop: stop, done: make(chan struct{})}
	path := k.handle.pods() + "/" + v.pod.Metadata.Name + "/log"
	go func(l *logCopy) {
		defer close(l.done)
		copyLog(ctx, k.c, path, filepath.Join(k.run.Dir, registry.StdoutFile), from)
	}(k.log)
}

// begun reports whether the pod's container has started.
func begun(p *api.Pod) bool {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil || c.State.Terminated != nil {
			return true
		}
	}
	return false
}

// place returns where in stdout.log the log of a pod begins, which the record keeps for
// processes to come.
func (k *carrier) place(pod string) (int64, error) {
	if k.handle.Pod == pod {
		return k.handle.From, nil
	}
	info, err := os.Stat(filepath.Join(k.run.Dir, registry.StdoutFile))
	if err != nil {
		return 0, err
	}
	k.handle.Pod, k.handle.From = pod, info.Size()
	_, err = k.r.Registry.Update(k.run.ID, func(r *exec.Run) { r.Handle = k.handle.text() })
	return info.Size(), err
}

// copyLog appends to file what it does not have of a log, which begins there at from. When
// it is cut off it goes on, until the log has ended.
func copyLog(ctx context.Context, c *api.Client, path, file string, from int64) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	for pause := 100 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 5*time.Second) {
		err := copyRest(ctx, c, path, f, from, true)
		if err == nil || api.Is(err, http.StatusNotFound) {
			return // to the end, or gone with its pod
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// copyRest appends to a file what it does not have of a log, which begins there at from.
func copyRest(ctx context.Context, c *api.Client, path string, f *os.File, from int64, follow bool) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	skip := size - from
	if skip > 0 {
		had := make([]byte, min(skip, knownBy))
		if _, err := f.ReadAt(had, size-int64(len(had))); err != nil {
			return err
		}
		if skip, err = goOn(ctx, c, path, skip, had); err != nil {
			return err
		}
	}
	return copyFrom(ctx, c, path, f, skip, follow)
}

// knownBy is how many bytes tell one place in a log from others, if any do.
const knownBy = 4 << 10

// goOn returns where a log goes on of which we have a number of bytes, the last of them had:
// behind these, which are elsewhere when the kubelet has rotated the log, or are in it no more.
func goOn(ctx context.Context, c *api.Client, path string, number int64, had []byte) (int64, error) {
	body, err := c.Stream(ctx, path, url.Values{"container": {containerName}})
	if err != nil {
		return 0, err
	}
	defer body.Close()
	place := int64(0)
	buf := make([]byte, 0, 1<<20)
	for at := int64(0); ; { // of buf in the log
		n, err := io.ReadFull(body, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if end := number - at; end >= int64(len(had)) && end <= int64(len(buf)) && bytes.HasSuffix(buf[:end], had) {
			return number, nil
		}
		if i := bytes.LastIndex(buf, had); i >= 0 {
			place = at + int64(i+len(had))
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return place, nil
		} else if err != nil {
			return 0, err
		}
		gone := len(buf) - len(had) + 1
		at, buf = at+int64(gone), append(buf[:0], buf[gone:]...)
	}
}

// copyFrom copies a log but for its first bytes. The error is nil when the container has
// ended and all of it was copied.
func copyFrom(ctx context.Context, c *api.Client, path string, to io.Writer, skip int64, follow bool) error {
	body, err := c.Stream(ctx, path, url.Values{"container": {containerName}, "follow": {strconv.FormatBool(follow)}})
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.CopyN(io.Discard, body, skip); err != nil {
		return err
	}
	_, err = io.Copy(to, body)
	return err
}

// glance copies what there is of the log so far.
func (k *carrier) glance(ctx context.Context, v view) error {
	if v.pod == nil || !begun(v.pod) {
		return nil
	}
	from, err := k.place(v.pod.Metadata.UID)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(k.run.Dir, registry.StdoutFile), os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	path := k.handle.pods() + "/" + v.pod.Metadata.Name + "/log"
	if err = copyRest(ctx, k.c, path, f, from, false); errors.Is(err, io.EOF) || api.Is(err, http.StatusNotFound) {
		return nil // less than we have
	}
	return err
}

// finishLog waits until all of the log is there, as long as it grows.
func (k *carrier) finishLog(ctx context.Context) {
	if k.log == nil {
		return
	}
	file := filepath.Join(k.run.Dir, registry.StdoutFile)
	size := func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	for was := int64(-1); was != size(); {
		was = size()
		select {
		case <-k.log.done:
			return
		case <-ctx.Done():
			return
		case <-time.After(logPatience):
		}
	}
}

func (k *carrier) closeLog() {
	if k.log == nil {
		return
	}
	k.log.stop()
	<-k.log.done
	k.log = nil
}
