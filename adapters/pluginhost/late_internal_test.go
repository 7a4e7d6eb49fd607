package pluginhost

// late_internal_test.go: what a process still says after it was given up.

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/ports"
)

// slow is a backend that answers when it is told to.
type slow struct {
	ports.Backend

	asked, answer chan struct{}
	err           error
}

func (b *slow) Health(context.Context) error {
	close(b.asked)
	<-b.answer
	return b.err
}

func (b *slow) Watch(context.Context, ports.WatchRequest) (ports.Watcher, error) {
	return &slowWatcher{backend: b, closed: make(chan struct{})}, nil
}

type slowWatcher struct {
	backend *slow
	closed  chan struct{}
}

func (w *slowWatcher) Next(context.Context) (ports.WatchEvent, error) {
	close(w.backend.asked)
	<-w.backend.answer
	return ports.WatchEvent{Kind: ports.WatchBookmark}, nil
}

func (w *slowWatcher) Close() error {
	close(w.closed)
	return nil
}

// hostOf is a host without a process, whose current generation has the backend.
func hostOf(t *testing.T, b ports.Backend) (*Host, *living) {
	t.Helper()
	launch, err := Launch{Name: "toy"}.prepare()
	require.NoError(t, err)
	h := &Host{
		launcher: &launcher{Launch: launch, sink: newLogSink(slog.New(slog.DiscardHandler), nil)},
		doubt:    make(chan struct{}, 1),
	}
	h.status.Store(&Status{State: StateRunning})
	l := &living{generation: 1, backend: b}
	l.inUse, l.retire = context.WithCancel(context.Background())
	t.Cleanup(l.retire)
	h.current.Store(l)
	return h, l
}

func TestLateAnswerDoesNotCount(t *testing.T) {
	b := &slow{asked: make(chan struct{}), answer: make(chan struct{})}
	h, l := hostOf(t, b)
	result := make(chan error)
	go func() { result <- h.Health(context.Background()) }()
	<-b.asked
	h.note(StateRestarting, errors.New("it gave no sign of life"))
	l.retire() // The watchdog gives it up.
	h.current.Store(&living{generation: 2, inUse: context.Background()})
	close(b.answer) // It answers after all.
	err := <-result
	require.ErrorIs(t, err, ports.ErrUnavailable)
	require.ErrorContains(t, err, "no sign of life")
	assert.False(t, l.served.Load())
	assert.False(t, h.current.Load().served.Load())
}

func TestLateEventDoesNotCount(t *testing.T) {
	b := &slow{asked: make(chan struct{}), answer: make(chan struct{})}
	h, l := hostOf(t, b)
	w, err := h.Watch(t.Context(), ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	result := make(chan error)
	go func() {
		_, err := w.Next(context.Background())
		result <- err
	}()
	<-b.asked
	l.retire()
	close(b.answer)
	require.ErrorIs(t, <-result, ports.ErrUnavailable)
	inner, ok := w.(*watcher).inner.(*slowWatcher)
	require.True(t, ok)
	<-inner.closed // A watch that nobody reads does not outlive its process either.
}

// What counts as service, for the breaker: an answer or a refusal, not a failure.
func TestServed(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"answer":   {nil, true},
		"refusal":  {ports.ErrPermission, true},
		"failure":  {ports.ErrUnavailable, false},
		"too late": {context.DeadlineExceeded, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := &slow{asked: make(chan struct{}), answer: make(chan struct{}), err: c.err}
			close(b.answer)
			h, l := hostOf(t, b)
			_ = h.Health(t.Context())
			assert.Equal(t, c.want, l.served.Load())
			assert.Equal(t, errors.Is(c.err, context.DeadlineExceeded), len(h.doubt) == 1, "the supervisor is asked to look")
		})
	}
}
