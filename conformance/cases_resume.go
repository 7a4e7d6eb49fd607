package conformance

// cases_resume.go: watching on from a cursor: exactly what came after it, or a Reset and a
// snapshot; never a gap.

import (
	"fmt"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var resumeCases = []scenario{
	{
		id:          "resume/changes-after-cursor",
		requirement: "With a cursor that can be resumed: the changes after it, then Synced, then further changes; nothing at or below it repeats. Else Reset and a snapshot in the same stream.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			old := s.create(s.host, record(key("svc", "old"), sess.ID))
			goes := s.create(s.host, record(key("svc", "goes"), sess.ID))
			changes := s.create(s.host, record(key("svc", "changes"), sess.ID))
			first := s.follow(s.second())
			s.must(first.watcher.Close() == nil, "the first watch closes", nil)

			s.done(s.host, remove(removal(goes)))
			changes = s.done(s.host, replace(*changes, changes.Generation))
			comes := s.create(s.host, record(key("svc", "comes"), sess.ID))
			keys := []core.Key{old.Key, goes.Key, changes.Key, comes.Key}

			for _, follow := range []bool{true, false} {
				st := s.watch(s.second(), ports.WatchRequest{Cursor: first.cursor, Follow: follow})
				st.synced()
				s.resumed(st, first, keys)
				if st.resets == 0 {
					s.check(len(st.since(0, old.Key)) == 0, "nothing of what did not change since the cursor", st.events)
					s.must(st.deleted[goes.Key] != nil, "the removal of "+show(goes), st.events)
				}
				if follow {
					later := s.create(s.host, record(key("svc", "later"), sess.ID))
					st.through(later.Revision)
					s.mustEqual(st.records[later.Key], later, "the stream")
					keys = append(keys, later.Key)
				}
			}
		},
	},
	{
		id:          "resume/nothing-new",
		requirement: "A resumed watch of what did not change gives Synced (or a Reset and the snapshot).",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			first := s.follow(s.host)
			st := s.watch(s.host, ports.WatchRequest{Cursor: first.cursor, Follow: true})
			st.synced()
			s.must(st.resets == 1 || len(st.since(0, rec.Key)) == 0, "no repetition", st.events)
			s.resumed(st, first, []core.Key{rec.Key})
		},
	},
	{
		id:          "resume/any-proof",
		requirement: "Every cursor that a watch gives, from Synced or a Bookmark, can be watched on from without loss.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			first := s.follow(s.second())
			var keys []core.Key
			type place struct {
				cursor core.Revision
				events int
			}
			places := []place{{first.cursor, len(first.events)}}
			for i := range 3 {
				rec := s.create(s.host, record(key("svc", fmt.Sprintf("id-%d", i)), sess.ID))
				first.through(rec.Revision)
				keys = append(keys, rec.Key)
				places = append(places, place{first.cursor, len(first.events)})
			}
			s.done(s.host, remove(removal(s.get(s.host, keys[0])[0].Record)))
			for _, p := range places {
				st := s.watch(s.second(), ports.WatchRequest{Cursor: p.cursor, Follow: true})
				st.synced()
				s.resumed(st, first.upTo(p.events), keys)
			}
		},
	},
	{
		id:          "resume/services",
		requirement: "A resumed watch is limited to its Services like any other.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			s.create(s.host, record(key("a", "old"), sess.ID))
			first := s.watch(s.second(), ports.WatchRequest{Services: []string{"a"}, Follow: true})
			first.synced()
			s.create(s.host, record(key("ab", "new"), sess.ID))
			fresh := s.create(s.host, record(key("a", "new"), sess.ID))
			st := s.watch(s.second(), ports.WatchRequest{Services: []string{"a"}, Cursor: first.cursor, Follow: true})
			st.synced()
			st.through(fresh.Revision)
			s.mustEqual(st.records[fresh.Key], fresh, "the stream")
			s.must(len(st.since(0, key("ab", "new"))) == 0, "nothing of another service", st.events)
		},
	},
	{
		id:          "resume/foreign-cursor",
		requirement: "A cursor of another epoch, or one that the store has not reached, gives Reset and a snapshot in the same stream, never an error.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			first := s.follow(s.host)
			ahead := first.cursor
			ahead.N += 1 << 40
			for _, cursor := range []core.Revision{
				{Epoch: "another-epoch", N: first.cursor.N}, {Epoch: "another-epoch", N: 1}, {Epoch: first.cursor.Epoch + "x", N: first.cursor.N}, ahead,
			} {
				st := s.watch(s.host, ports.WatchRequest{Cursor: cursor, Follow: true})
				st.synced()
				s.must(st.resets == 1 && st.events[0].Kind == ports.WatchReset, fmt.Sprintf("a Reset for the cursor %s", cursor), st.events)
				s.mustEqual(st.records[rec.Key], rec, "the snapshot")
				rec = s.done(s.host, replace(*rec, rec.Generation))
				st.through(rec.Revision)
				s.mustEqual(st.records[rec.Key], rec, "the stream")
			}
		},
	},
	{
		id:          "resume/after-reopening",
		requirement: "With the capability Resume a cursor is good after the backend is closed and opened again; without it the watch gives a Reset. No change is missed.",
		run: func(s *scene) {
			b := s.open(s.namespace)
			sess := s.session(b, longTTL)
			old := s.create(b, record(key("svc", "old"), sess.ID))
			first := s.follow(b)
			fresh := s.create(b, record(key("svc", "fresh"), sess.ID))
			s.must(b.Close() == nil, "the backend closes", nil)

			again := s.open(s.namespace)
			st := s.watch(again, ports.WatchRequest{Cursor: first.cursor, Follow: true})
			st.synced()
			s.must(s.info.Capabilities.Resume == (st.resets == 0), fmt.Sprintf("a Reset: %v, as the capability Resume is %v", !s.info.Capabilities.Resume, s.info.Capabilities.Resume), st.events)
			if s.info.Capabilities.MultiHost {
				s.resumed(st, first, []core.Key{old.Key, fresh.Key})
			}
			st.agrees(again, old.Key, fresh.Key)
		},
	},
}

// resumed asks that a stream, which went on from the cursor of an earlier one, knows together
// with it what Get finds.
func (s *scene) resumed(st, earlier *stream, keys []core.Key) {
	s.Helper()
	if st.resets == 0 {
		for k, rec := range earlier.records {
			if st.records[k] == nil && st.deleted[k] == nil {
				st.records[k] = rec
			}
		}
	}
	st.agrees(s.host, keys...)
}

// upTo is the account that a stream gave after its first n events.
func (st *stream) upTo(n int) *stream {
	before := &stream{s: st.s, records: make(map[core.Key]*ports.Record)}
	for _, ev := range st.events[:n] {
		switch ev.Kind {
		case ports.WatchReset:
			clear(before.records)
		case ports.WatchPut:
			before.records[ev.Record.Key] = ev.Record
		case ports.WatchDelete:
			delete(before.records, ev.Tombstone.Key)
		case ports.WatchSynced, ports.WatchBookmark, ports.WatchSkipped:
		}
	}
	return before
}
