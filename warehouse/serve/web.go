package serve

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

// web is what is served over HTTP: Bazel's cache protocol below /ac and /cas, packed
// wares and memos as package packed lays them out, and what people want to know.
func (s *Server) web() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.front)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		s.writeMetrics(w)
	})
	mux.HandleFunc("GET /ac/{hash}", s.webGetAction)
	mux.HandleFunc("PUT /ac/{hash}", s.webPutAction)
	mux.HandleFunc("GET /cas/{hash}", s.webGet)
	mux.HandleFunc("PUT /cas/{hash}", s.webPut)
	mux.HandleFunc("GET /memo/{shard}/{hash}", s.webGetMemo)
	mux.HandleFunc("PUT /memo/{shard}/{hash}", s.webPutMemo)
	mux.HandleFunc("GET /{a}/{b}/{hash}", s.webGetWare)
	mux.HandleFunc("PUT /{a}/{b}/{hash}", s.webPutWare)
	return mux
}

func (s *Server) front(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rpc, web := "grpc", "http"
	if r.TLS != nil {
		rpc, web = "grpcs", "https"
	}
	fmt.Fprintf(w, `kiln %s serves a warehouse here.

kiln:   the warehouse %s://%s (file by file) or ca+%s://%[3]s (packed wares)
Bazel:  --remote_cache=%[2]s://%[3]s or --remote_cache=%[4]s://%[3]s
People: /metrics, /healthz
`, s.o.Version, rpc, r.Host, web)
}

// webDigest reads the hash that a path ends with.
func webDigest(r *http.Request) (remote.Digest, keep.Sum, error) {
	d := remote.Digest{Hash: r.PathValue("hash")}
	sum, err := sumOf(d)
	return d, sum, err
}

func (s *Server) webGet(w http.ResponseWriter, r *http.Request) {
	d, sum, err := webDigest(r)
	if err == nil {
		err = s.webContent(w, r, sum)
	}
	if err != nil {
		fail(w, s.told(d.Hash, err))
	}
}

// webContent answers with a content, or the part of it that is asked for.
func (s *Server) webContent(w http.ResponseWriter, r *http.Request, sum keep.Sum) error {
	c, err := s.openSum(r.Context(), sum, anySize)
	s.metrics.found("object", err == nil, 1)
	if err != nil {
		return err
	}
	defer c.close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Etag", `"`+sum.String()+`"`)
	if r.Header.Get("Range") != "" && !c.checked {
		if err := c.check(r.Context()); err != nil {
			return err
		}
	}
	if c.checked {
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(c, 0, c.size))
		return nil
	}
	h.Set("Content-Length", strconv.FormatInt(c.size, 10))
	h.Set("Accept-Ranges", "bytes")
	if r.Method == http.MethodHead {
		return nil
	}
	sent := false
	err = c.send(r.Context(), 0, c.size, func(b []byte) error { sent = true; _, err := w.Write(b); return err })
	if err != nil && sent {
		s.log.printf("%s: %v", sum, err)
		panic(http.ErrAbortHandler) // the client must not take it for whole
	}
	if err != nil {
		h.Del("Content-Length")
	}
	return err
}

func (s *Server) webPut(w http.ResponseWriter, r *http.Request) {
	d, sum, err := webDigest(r)
	if err == nil {
		err = mayWrite(r.Context())
	}
	switch {
	case err != nil:
	case s.hasSum(sum, anySize):
		// Who sends all before it reads the answer would find the connection closed.
		_, _ = io.Copy(io.Discard, r.Body)
	default:
		_, err = s.webTake(r, &sum)
	}
	if err != nil {
		fail(w, s.told(d.Hash, err))
		return
	}
	w.WriteHeader(http.StatusOK)
}

// webTake keeps a request's body as an object, whose sum it returns. It must be want,
// if that is not nil.
func (s *Server) webTake(r *http.Request, want *keep.Sum) (keep.Sum, error) {
	o, err := s.create(r.ContentLength)
	if err != nil {
		return keep.Sum{}, err
	}
	if _, err := io.Copy(struct{ io.Writer }{o}, r.Body); err != nil {
		o.Abort()
		if !errors.Is(err, keep.ErrFull) {
			err = fmt.Errorf("%w: %w", keep.ErrMismatch, err) // of what the client said it would send
		}
		return keep.Sum{}, err
	}
	sum := o.Sum()
	if want != nil {
		sum = *want
	}
	return sum, o.Commit(sum, o.Written())
}

func (s *Server) webGetAction(w http.ResponseWriter, r *http.Request) {
	d, _, err := webDigest(r)
	var data []byte
	if err == nil {
		data, err = s.action(r.Context(), "", d)
	}
	if err != nil {
		fail(w, s.told("action "+d.Hash, err))
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data)
}

func (s *Server) webPutAction(w http.ResponseWriter, r *http.Request) {
	d, _, err := webDigest(r)
	if err == nil {
		err = mayWrite(r.Context())
	}
	var data []byte
	if err == nil {
		data, err = io.ReadAll(http.MaxBytesReader(w, r.Body, keep.MaxValue))
	}
	if err == nil {
		err = s.keepAction("", d, data)
	}
	if err != nil {
		fail(w, s.told("action "+d.Hash, err))
	}
}
