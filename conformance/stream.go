package conformance

// stream.go: a watch as the cases see it. Whatever a case is about, the order of its events
// is checked on the way.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// stream reads one watch and keeps what it says.
type stream struct {
	s       *scene
	watcher ports.Watcher

	events  []ports.WatchEvent
	records map[core.Key]*ports.Record    // what is stored, by the stream's account
	deleted map[core.Key]*ports.Tombstone // the last deletion of what is not
	latest  map[core.Key]core.Revision    // the last revision of each key that was sent
	cursor  core.Revision                 // of the last proof, or that of the request
	resets  int
	loading bool // between a Reset and the Synced that ends its snapshot
}

// watch opens a stream; it is closed with the case.
func (s *scene) watch(b ports.Backend, req ports.WatchRequest) *stream {
	s.Helper()
	w, err := b.Watch(s.ctx, req)
	s.must(err == nil && w != nil, "a watch is accepted", err)
	return s.reading(w, req.Cursor)
}

// reading is the stream of a watch that was opened with a cursor.
func (s *scene) reading(w ports.Watcher, cursor core.Revision) *stream {
	s.Cleanup(func() { _ = w.Close() }) // nothing is left to be learnt from it
	return &stream{
		s: s, watcher: w, cursor: cursor, records: make(map[core.Key]*ports.Record),
		deleted: make(map[core.Key]*ports.Tombstone), latest: make(map[core.Key]core.Revision),
	}
}

// resumed watches on from the last proof. What came after it may come again.
func (st *stream) resumed(b ports.Backend, services ...string) *stream {
	st.s.Helper()
	next := st.s.watch(b, ports.WatchRequest{Services: services, Cursor: st.cursor, Follow: true})
	next.records, next.deleted = st.records, st.deleted
	for k, r := range st.latest {
		if r.Epoch == st.cursor.Epoch && r.N <= st.cursor.N {
			next.latest[k] = r
		}
	}
	return next
}

// follow opens a stream of everything and reads it up to its first Synced.
func (s *scene) follow(b ports.Backend) *stream {
	s.Helper()
	st := s.watch(b, ports.WatchRequest{Follow: true})
	st.synced()
	return st
}

// list reads a watch that does not follow to its end.
func (s *scene) list(b ports.Backend, services ...string) *stream {
	s.Helper()
	st := s.watch(b, ports.WatchRequest{Services: services})
	for {
		ev, err := st.read(waitLimit)
		if errors.Is(err, io.EOF) {
			break
		}
		s.must(err == nil, "a list goes on to io.EOF", err, st.events)
		st.take(ev)
	}
	s.must(len(st.events) >= 2 && st.events[0].Kind == ports.WatchReset && st.last().Kind == ports.WatchSynced,
		"a list is a Reset, records, and a Synced", st.events)
	return st
}

func (st *stream) read(limit time.Duration) (ports.WatchEvent, error) {
	ctx, cancel := context.WithTimeout(st.s.ctx, limit)
	defer cancel()
	return st.watcher.Next(ctx)
}

// next reads one event within a limit.
func (st *stream) next(what string, limit time.Duration) ports.WatchEvent {
	st.s.Helper()
	return st.nextOf(what, limit, limit)
}

// nextOf reads one event of several that have a limit together, of which so much is left.
func (st *stream) nextOf(what string, limit, left time.Duration) ports.WatchEvent {
	st.s.Helper()
	ev, err := st.read(left)
	st.s.must(err == nil, fmt.Sprintf("%s comes within %s", what, limit), err, st.events)
	st.take(ev)
	return ev
}

// until reads until a condition holds.
func (st *stream) until(what string, limit time.Duration, reached func() bool) {
	st.s.Helper()
	deadline := time.Now().Add(limit)
	for !reached() {
		st.nextOf(what, limit, max(time.Until(deadline), time.Millisecond))
	}
}

// synced reads on until the stream has proved that it is complete, once more.
func (st *stream) synced() {
	st.s.Helper()
	from := len(st.events)
	// Thousands of records may come before it, read by a program that the race detector slows.
	st.until("a Synced", 4*waitLimit, func() bool { return len(st.events) > from && st.last().Kind == ports.WatchSynced })
}

// through reads on until the stream has proved that it sent everything up to a revision.
func (st *stream) through(r core.Revision) {
	st.s.Helper()
	st.until(fmt.Sprintf("a proof that everything up to %s was sent", r), waitLimit, func() bool {
		return !st.loading && st.cursor.Epoch == r.Epoch && st.cursor.N >= r.N
	})
}

// fence writes a record through b and reads on to a proof that it, and so everything before
// it, was sent.
func (st *stream) fence(b ports.Backend) {
	st.s.Helper()
	sess := st.s.session(b, longTTL)
	st.through(st.s.create(b, record(key("fence", string(sess.ID)), sess.ID)).Revision)
}

func (st *stream) last() ports.WatchEvent { return st.events[len(st.events)-1] }

// since returns the events of one key from the n-th event of the stream on.
func (st *stream) since(n int, k core.Key) []ports.WatchEvent {
	var of []ports.WatchEvent
	for _, ev := range st.events[n:] {
		if ev.Record != nil && ev.Record.Key == k || ev.Tombstone != nil && ev.Tombstone.Key == k {
			of = append(of, ev)
		}
	}
	return of
}

// take checks an event against what came before it, and learns from it.
func (st *stream) take(ev ports.WatchEvent) {
	st.s.Helper()
	st.events = append(st.events, ev)
	must := func(ok bool, expected string) {
		st.s.Helper()
		st.s.must(ok, "in every stream: "+expected, ev, st.events)
	}
	must(len(st.events) > 1 || ev.Kind == ports.WatchReset || !st.cursor.IsZero(), "a watch without a cursor begins with a Reset")
	switch ev.Kind {
	case ports.WatchReset:
		must(ev.Reason != "", "a Reset says why")
		st.resets++
		st.loading, st.cursor = true, core.Revision{}
		clear(st.records)
		clear(st.deleted)
	case ports.WatchPut:
		must(ev.Record != nil && !ev.Record.Revision.IsZero(), "a Put carries a record with its revision")
		st.ordered(ev.Record.Key, ev.Record.Revision, must)
		st.records[ev.Record.Key] = ev.Record
		delete(st.deleted, ev.Record.Key)
	case ports.WatchDelete:
		must(ev.Tombstone != nil && !ev.Tombstone.Revision.IsZero(), "a Delete carries a tombstone with its revision")
		st.ordered(ev.Tombstone.Key, ev.Tombstone.Revision, must)
		delete(st.records, ev.Tombstone.Key)
		st.deleted[ev.Tombstone.Key] = ev.Tombstone
	case ports.WatchSynced, ports.WatchBookmark:
		must(!ev.Cursor.IsZero(), "a proof carries a cursor")
		must(ev.Kind == ports.WatchSynced || !st.loading, "a snapshot ends with a Synced")
		must(st.cursor.IsZero() || ev.Cursor.Epoch == st.cursor.Epoch && ev.Cursor.N >= st.cursor.N, "cursors never go back without a Reset")
		st.cursor, st.loading = ev.Cursor, false
	case ports.WatchSkipped:
		must(ev.Reason != "", "a skipped record comes with the reason")
	default:
		must(false, "events are of a known kind")
	}
}

// ordered checks the revision of one event. A snapshot may say again what was said before.
func (st *stream) ordered(k core.Key, r core.Revision, must func(bool, string)) {
	st.s.Helper()
	before, known := st.latest[k]
	if known && before.Epoch == r.Epoch {
		must(r.N > before.N || st.loading && r.N == before.N, "revisions of a record strictly increase, "+show(before)+" came before")
	}
	must(st.loading || r.After(st.cursor), "nothing at or below the cursor repeats, it is "+show(st.cursor))
	st.latest[k] = r
}

// agrees asks that the stream's account of keys is what Get finds.
func (st *stream) agrees(b ports.Backend, keys ...core.Key) {
	st.s.Helper()
	for some := range slices.Chunk(keys, ports.MaxBatch) {
		for i, found := range st.s.get(b, some...) {
			seen := st.records[some[i]]
			if found.Record == nil {
				st.s.must(seen == nil, "the stream has seen that "+some[i].String()+" is gone", seen, found)
				continue
			}
			st.s.must(seen != nil, "the stream has seen "+show(found.Record), st.deleted[some[i]], st.since(0, some[i]))
			st.s.mustEqual(seen, found.Record, "the stream")
		}
	}
}
