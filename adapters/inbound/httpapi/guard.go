package httpapi

// guard.go: what every request passes before and after its route: panics, the names and
// origins that may ask, the size of bodies, and what is told to logs and metrics. The path of
// a request without a body allocates nothing here.

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/prism/adapters/client/problem"
	"github.com/marketprism/prism/core"
)

// maxBody is the greatest body that is read; drainBody is how much more is thrown away, so
// that a client that is still sending reads the answer rather than a broken connection.
const (
	maxBody   = 1 << 20
	drainBody = 16 << 20
)

func (a *API) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := newRecorder(w, r)
	defer func() {
		if p := recover(); p != nil {
			a.panicked(rec, r, p)
		}
		a.report(rec, r, start)
		rec.release()
	}()
	if d := a.refuse(r); d != nil {
		writeProblem(rec, d)
		return
	}
	if r.ContentLength != 0 {
		if d := readBody(rec, r); d != nil {
			writeProblem(rec, d)
			return
		}
	}
	a.mux.ServeHTTP(rec, r)
}

// refuse keeps web pages from using a host that trusts its own machine. A page can send
// requests to 127.0.0.1, and by DNS rebinding read the answers too: its requests then carry
// the page's name in Host. Requests that change something are refused when a browser says that they
// come from another origin.
func (a *API) refuse(r *http.Request) *problem.Error {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && local.IP.IsLoopback() && !a.knownHost(r.Host) {
		return problem.New(problem.CodePermission, http.StatusForbidden, fmt.Sprintf(
			"Host: %q is not allowed over loopback, as a protection from DNS rebinding; use localhost or %s, and have a proxy on this machine send one of them in place of its own name",
			r.Host, local.IP))
	}
	if err := a.origin.Check(r); err != nil {
		return problem.New(problem.CodePermission, http.StatusForbidden, "a web page of another origin may not do this: "+err.Error())
	}
	return refusePath(r)
}

// refusePath answers for paths that ServeMux would clean and redirect to another route: a name
// in them is empty, or made of dots.
func refusePath(r *http.Request) *problem.Error {
	path := r.URL.EscapedPath()
	for _, bad := range []string{"//", "/./", "/../"} {
		if strings.Contains(path, bad) || strings.HasSuffix(path, bad[:len(bad)-1]) && len(bad) > 2 {
			fe := core.Invalid("path", path, "a part of it is empty or dots only; a name has 1–128 of a-z A-Z 0-9 . _ -, the first a letter or digit")
			return problem.From(fe, nil)
		}
	}
	return nil
}

func (a *API) knownHost(hostport string) bool {
	host := hostport
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return host == "" || core.IsLoopback(host) || slices.ContainsFunc(a.o.AllowedHosts, func(h string) bool {
		return strings.EqualFold(h, host) || strings.EqualFold(h, hostport)
	})
}

// readBody takes the whole body in, so that no route waits for a slow sender and the
// deadline for reading does not end a route that works for long.
func readBody(w *recorder, r *http.Request) *problem.Error {
	w.limit() // an interim answer may have to be written
	control := http.NewResponseController(w)
	deadline := func(t time.Time) { _ = control.SetReadDeadline(t) } // a transport without deadlines has none to set
	deadline(time.Now().Add(bodyTimeout))
	defer deadline(time.Time{})
	if r.ContentLength > maxBody {
		if r.Header.Get("Expect") == "" { // else nothing is sent before it is asked for
			drain(r.Body)
		}
		return bodyTooLarge()
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem.New(problem.CodeInvalid, http.StatusRequestTimeout, "body: it did not arrive within 30 s; send it at once")
	case err != nil:
		return problem.New(problem.CodeInvalid, http.StatusBadRequest, "body: it broke off; send it again")
	case len(body) > maxBody:
		drain(r.Body)
		return bodyTooLarge()
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

func drain(body io.Reader) {
	_, _ = io.CopyN(io.Discard, body, drainBody) // it is thrown away in any case
}

func bodyTooLarge() *problem.Error {
	return problem.New(problem.CodeTooLarge, http.StatusRequestEntityTooLarge, "body: it is larger than 1 MiB; send at most that",
		problem.Field{Location: "body", Message: "send at most 1 MiB"})
}

// panicked answers for a route that panicked: the caller gets no internals, the log gets all.
func (a *API) panicked(rec *recorder, r *http.Request, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p) // the way to cut a connection on purpose
	}
	id := rand.Text()
	a.logger.Error("a request made the host panic", slog.String("id", id), slog.String("method", r.Method),
		slog.String("path", r.URL.Path), slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
	if rec.status != 0 {
		panic(http.ErrAbortHandler) // half an answer is out: cut the connection, so that nobody takes it for whole
	}
	writeProblem(rec, problem.New(problem.CodeInternal, http.StatusInternalServerError, "the host failed; its log says more under "+id))
}

func (a *API) report(rec *recorder, r *http.Request, start time.Time) {
	status := rec.status
	if status == 0 {
		status = http.StatusOK
	}
	if a.o.Observe != nil {
		a.o.Observe(r.Pattern, status, time.Since(start))
	}
	if a.logger.Enabled(context.Background(), slog.LevelDebug) {
		a.logger.Debug("HTTP request", slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", status), slog.Duration("took", time.Since(start)), slog.String("peer", r.RemoteAddr))
	}
}

// peerHost is the address that a request came from; forwarding headers, which anybody can
// write, are not looked at.
func peerHost(remoteAddr string) string {
	peer, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return ""
	}
	return peer.Addr().Unmap().WithZone("").String()
}
