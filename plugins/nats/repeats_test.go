package nats_test

// repeats_test.go: writes whose acknowledgement is lost. They are sent again, and what is answered then
// must not call undone what was done.

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/core"
	prismnats "github.com/marketprism/prism/plugins/nats"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// unacknowledged loses the acknowledgement of the next write of a subject, once it is armed. It is a relay's.
type unacknowledged struct {
	subject  string
	lost     chan struct{}   // closed when the write stands and its acknowledgement is lost
	goOn     chan struct{}   // repetitions wait until that is closed
	over     <-chan struct{} // the test is
	loseRead bool            // the next read of the subject goes unanswered too

	mu    sync.Mutex // guards the rest
	armed bool
	inbox string // of the acknowledgement
}

func newUnacknowledged(t *testing.T, subject string) *unacknowledged {
	t.Helper()
	return &unacknowledged{subject: subject, lost: make(chan struct{}), goOn: make(chan struct{}), over: t.Context().Done()}
}

// wait returns when the acknowledgement was lost.
func (u *unacknowledged) wait(ctx context.Context, t *testing.T) {
	t.Helper()
	select {
	case <-u.lost:
	case <-ctx.Done():
		require.NoError(t, ctx.Err(), "no acknowledgement came")
	}
}

func (u *unacknowledged) arm() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.armed = true
}

func (u *unacknowledged) pass(m passing) bool {
	if u.repeats(m) {
		select {
		case <-u.goOn:
		case <-u.over:
		}
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.armed && m.sent && m.subject == u.subject:
		u.armed, u.inbox = false, m.reply
	case !m.sent && u.inbox != "" && m.subject == u.inbox:
		close(u.lost)
		return false
	case u.loseRead && u.inbox != "" && m.sent && strings.Contains(m.subject, ".STREAM.MSG.GET.") && strings.Contains(m.payload, u.subject):
		u.loseRead = false
		return false
	}
	return true
}

func (u *unacknowledged) repeats(m passing) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.inbox != "" && m.sent && m.subject == u.subject
}

// setState declares a state of a record, at a revision if that is not zero.
func setState(ctx context.Context, b ports.Backend, rec *ports.Record, to core.Declared, at core.Revision) ports.MutationResult {
	res, err := b.Apply(ctx, []ports.Mutation{{SetState: &ports.SetState{
		Key: rec.Key, Generation: rec.Generation, IfRevision: at, At: time.Now(),
		Declared: &ports.DeclaredState{Declared: to, ByOperator: to == core.DeclaredMaintenance, Actor: "test"},
	}}})
	if err != nil {
		return ports.MutationResult{Err: err}
	}
	return res[0]
}

// A write was carried out, its acknowledgement is lost, and somebody else writes before it is sent again. To
// call it undone would be wrong, and to do it again would undo the other's.
func TestAWriteThatIsRepeatedAfterAnothers(t *testing.T) {
	t.Parallel()
	for name, conditional := range map[string]bool{"on no condition": false, "on a revision": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := stores.ForTest(t, stores.NATS, stores.Options{})
			key := core.Key{Service: "api", ID: "a"}
			loses := newUnacknowledged(t, recordSubject(namespace, key))
			b, err := prismnats.Open(backendtest.Within(t), prismnats.Options{URL: relayed(t, store, loses.pass)})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, b.Close()) })
			other := open(t, store, prismnats.Options{})
			backendtest.Session(t, b, "s", time.Hour)
			rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
			at := core.Revision{}
			if conditional {
				at = rec.Revision
			}

			loses.arm()
			answer := make(chan ports.MutationResult, 1)
			ctx := backendtest.Within(t)
			go func() { answer <- setState(ctx, b, rec, core.DeclaredStopping, at) }()
			loses.wait(ctx, t)
			between := setState(ctx, other, rec, core.DeclaredMaintenance, core.Revision{})
			require.NoError(t, between.Err)
			close(loses.goOn)
			first := <-answer
			backendtest.Said(t, first.Err, ports.ErrUnavailable, "api/a", "unknown")
			require.NotErrorIs(t, first.Err, ports.ErrConflict)
			assert.Equal(t, between.Record, backendtest.Get(t, other, "a").Record)
		})
	}
}

// A write was carried out, its acknowledgement is lost, and so is the answer to the question whether what stands
// there is it.
func TestAWriteThatIsRepeatedTwice(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	key := core.Key{Service: "api", ID: "a"}
	loses := newUnacknowledged(t, recordSubject(namespace, key))
	loses.loseRead = true
	b, err := prismnats.Open(backendtest.Within(t), prismnats.Options{URL: relayed(t, store, loses.pass)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})

	loses.arm()
	answer := make(chan ports.MutationResult, 1)
	ctx := backendtest.Within(t)
	go func() { answer <- setState(ctx, b, rec, core.DeclaredMaintenance, rec.Revision) }()
	loses.wait(ctx, t)
	stream, err := raw(t, store).Stream(backendtest.Within(t), streamName)
	require.NoError(t, err)
	stands, err := stream.GetLastMsgForSubject(backendtest.Within(t), recordSubject(namespace, key))
	require.NoError(t, err)
	close(loses.goOn)
	first := <-answer
	require.NoError(t, first.Err)
	assert.Equal(t, stands.Sequence, first.Record.Revision.N, "it is carried out once")
	assert.Equal(t, first.Record, backendtest.Get(t, b, "a").Record)
}

// The acknowledgement of a beat is lost for good. The next one finds that the seat is our own.
func TestABeatThatIsNotAcknowledgedLosesNoSeat(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	loses := newUnacknowledged(t, "prism.prism.seat-0")
	close(loses.goOn)
	var writing sync.Map // inboxes of what is written to seats since
	taken := make(chan string, 100)
	pass := func(m passing) bool {
		if !loses.pass(m) {
			return false
		}
		select {
		case <-loses.lost:
		default:
			return true
		}
		if seat, is := strings.CutPrefix(m.subject, "prism.prism.seat-"); is && m.sent {
			writing.Store(m.reply, seat)
		}
		if seat, is := writing.Load(m.subject); is && !strings.Contains(m.payload, `"error"`) {
			taken <- fmt.Sprint(seat)
		}
		return true
	}
	b, err := prismnats.Open(backendtest.Within(t), prismnats.Options{URL: relayed(t, store, pass)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	require.Zero(t, b.Seat())

	loses.arm()
	ctx := backendtest.Within(t)
	loses.wait(ctx, t)
	for range 2 {
		select {
		case seat := <-taken:
			require.Equal(t, "0", seat)
		case <-ctx.Done():
			require.NoError(t, ctx.Err(), "no beat came")
		}
	}
	assert.Zero(t, b.Seat())
}
