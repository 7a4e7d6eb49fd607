package httpapi

// recorder.go: the ResponseWriter of every request. It remembers the status, and turns what
// ServeMux says of unknown paths and methods into problem documents.

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/marketprism/prism/adapters/client/problem"
)

type recorder struct {
	http.ResponseWriter
	r        *http.Request
	status   int
	dropBody bool // what comes is ServeMux's text, and the answer is out already
}

var recorders = sync.Pool{New: func() any { return new(recorder) }}

func newRecorder(w http.ResponseWriter, r *http.Request) *recorder {
	rec, ok := recorders.Get().(*recorder)
	if !ok {
		rec = new(recorder)
	}
	*rec = recorder{ResponseWriter: w, r: r}
	return rec
}

func (w *recorder) release() {
	*w = recorder{}
	recorders.Put(w)
}

// WriteHeader implements http.ResponseWriter. Every route has a pattern; an answer to a request
// without one is ServeMux's own and is put in the API's words.
func (w *recorder) WriteHeader(status int) {
	switch {
	case w.status != 0:
	case w.r.Pattern == "" && status == http.StatusNotFound:
		w.replace(problem.New(problem.CodeNotFound, status, "there is no "+w.r.URL.Path+"; /openapi.json lists what there is"))
	case w.r.Pattern == "" && status == http.StatusMethodNotAllowed:
		allow := w.Header().Get("Allow")
		if w.r.Method != http.MethodOptions {
			w.replace(problem.New(problem.CodeMethodNotAllowed, status, w.r.Method+" is not allowed here; use "+allow))
			return
		}
		w.Header().Set("Allow", allow+", OPTIONS")
		w.Header().Del("Content-Type")
		w.dropBody = true
		w.pass(http.StatusNoContent)
	default:
		w.pass(status)
	}
}

func (w *recorder) pass(status int) {
	w.status = status
	w.limit()
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) replace(d *problem.Error) {
	w.status, w.dropBody = d.Status, true
	w.limit()
	writeProblem(w.ResponseWriter, d)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(b []byte) (int, error) {
	if w.dropBody {
		return len(b), nil
	}
	if w.status == 0 {
		w.status = http.StatusOK
		w.limit()
	}
	return w.ResponseWriter.Write(b)
}

// limit gives the peer a time to read the answer in.
func (w *recorder) limit() {
	if c, ok := w.ResponseWriter.(interface{ SetWriteDeadline(t time.Time) error }); ok {
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout)) // a transport without deadlines has none to set
	}
}

// FlushError flushes, for event streams.
func (w *recorder) FlushError() error {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeProblem answers with a problem document.
func writeProblem(w http.ResponseWriter, d *problem.Error) {
	b, err := json.Marshal(d)
	if err != nil {
		b = []byte("{}") // unreachable: an Error is plain text and numbers
	}
	h := w.Header()
	maps.Copy(h, problemHeaders(d))
	h.Set("Content-Type", problem.ContentType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(d.Status)
	_, _ = w.Write(b) // a peer that is gone cannot be told
}

// problemHeaders are the headers that an error brings along.
func problemHeaders(d *problem.Error) http.Header {
	switch d.Code {
	case problem.CodeUnavailable, problem.CodeRateLimited, problem.CodeNoEligible:
		return http.Header{"Retry-After": {"1"}}
	case problem.CodeUnauthenticated:
		return http.Header{"Www-Authenticate": {`Bearer realm="prism"`}}
	default:
		return nil
	}
}
