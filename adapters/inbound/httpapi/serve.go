package httpapi

// serve.go: listening, with limits that keep a slow or hostile peer from holding resources,
// and an end that lets requests in hand finish.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of a connection.
const (
	headerTimeout = 5 * time.Second
	bodyTimeout   = 30 * time.Second
	// writeTimeout bounds the writing of an answer, from its first byte on (recorder.go): a route
	// may take long to find one. Streams have a bound for each event.
	writeTimeout   = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 32 << 10
)

// Serve answers on a listener until ctx ends; then it ends streams and waits, lets the other
// requests finish within Options.Grace, cuts off what is left and returns nil. It closes the
// listener. Any other end is an error.
func (a *API) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler: a, TLSConfig: a.o.TLS, ReadHeaderTimeout: headerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		a.shutdown(ctx, srv)
	})
	var err error
	if a.o.TLS != nil {
		err = srv.ServeTLS(ln, "", "")
	} else {
		err = srv.Serve(ln)
	}
	if stop() { // nobody asked it to end
		a.Close()
		return errors.Join(fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err), srv.Close())
	}
	<-ended
	return nil
}

func (a *API) shutdown(ctx context.Context, srv *http.Server) {
	a.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.o.Grace)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		a.logger.Warn("HTTP requests were cut off at the end", slog.Any("error", errors.Join(err, srv.Close())))
	}
}
