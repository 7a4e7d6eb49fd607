package nats

// reach_internal_test.go: when the copy of the namespace has all of it, with a stream that is none.

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/ports"
)

// told is a stream of records that stand at sequences.
type told struct {
	jetstream.Stream // what is not asked of it

	last  uint64
	seqs  []uint64
	asked func() // before each answer
}

func (s *told) Info(context.Context, ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	s.asked()
	return &jetstream.StreamInfo{State: jetstream.StreamState{LastSeq: s.last}}, nil
}

func (s *told) GetMsg(_ context.Context, from uint64, _ ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	s.asked()
	for _, seq := range s.seqs {
		if seq >= from {
			return &jetstream.RawStreamMsg{Sequence: seq}, nil
		}
	}
	return nil, jetstream.ErrMsgNotFound
}

// A record that is written again before it came, while a list is on its way, stood there when the list was asked for.
func TestAListWaitsForWhatWasWrittenAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		reached uint64   // by the stream when the list was asked for
		first   []*entry // what came before
	}{
		"the mirror is behind":      {100, []*entry{recordAt(80, "b", "s")}},
		"the mirror is on its way":  {95, []*entry{recordAt(80, "b", "s"), recordAt(95, "c", "s")}},
		"others wrote in that time": {90, []*entry{recordAt(80, "b", "s"), recordAt(95, "c", "s")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				stream := &told{last: 100, seqs: []uint64{80, 90}}
				stream.asked = func() { // "a" stood at 90, and nobody was quick enough to take it
					stream.last, stream.seqs = 130, []uint64{80, 120}
				}
				now := &life{epoch: "e", seq: 1}
				b := &Backend{mirror: newMirror(), remote: &remote{conn: &connection{waiting: make(map[*request]struct{})}, stream: stream}}
				b.mirror.begin(now, true, noSeat, "r.>")
				b.mirror.caughtUpNow(1, nil)
				for _, e := range tt.first {
					b.mirror.takeRecord(e, false)
				}
				ended := errors.New("it has not ended")
				go func() { ended = b.whole(t.Context(), now, &reaching{seq: tt.reached}) }()
				synctest.Wait()
				require.Error(t, ended, "the record is in no list now")
				b.mirror.takeRecord(recordAt(120, "a", "s"), false)
				synctest.Wait()
				require.NoError(t, ended)
				assert.Len(t, b.mirror.all().entries, len(tt.first)+1)
			})
		})
	}
}

// A record that is written all the time keeps no list from its end.
func TestAListEndsWhileOthersWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := &life{epoch: "e", seq: 1}
		stream := &told{last: 100, seqs: []uint64{100}}
		b := &Backend{mirror: newMirror(), remote: &remote{conn: &connection{waiting: make(map[*request]struct{})}, stream: stream}}
		stream.asked = func() {
			b.mirror.takeRecord(recordAt(stream.last, "a", "s"), false)
			stream.last++
			stream.seqs = []uint64{stream.last}
		}
		b.mirror.begin(now, true, noSeat, "r.>")
		b.mirror.caughtUpNow(1, nil)
		ctx, cancel := context.WithTimeout(t.Context(), ports.MaxBookmarkGap)
		defer cancel()
		require.NoError(t, b.whole(ctx, now, &reaching{seq: 100}))
	})
}

// Nor does it keep the snapshot of a watch, where a question takes so long that the attempts to begin it are cut short.
func TestASnapshotComesOverASlowLink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := &life{epoch: "e", seq: 1}
		stream := &told{last: 100, seqs: []uint64{100}}
		b := &Backend{mirror: newMirror(), remote: &remote{conn: &connection{waiting: make(map[*request]struct{})}, stream: stream}}
		b.life.Store(now)
		stream.asked = func() {
			time.Sleep(300 * time.Millisecond)
			b.mirror.takeRecord(recordAt(stream.last, "a", "s"), false)
			stream.last++
			stream.seqs = []uint64{stream.last}
		}
		b.mirror.begin(now, true, noSeat, "r.>")
		b.mirror.caughtUpNow(1, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		w := &watch{backend: b, life: now}
		w.setOut(100)
		for !w.arrive(ctx) {
			require.NoError(t, ctx.Err())
		}
	})
}
