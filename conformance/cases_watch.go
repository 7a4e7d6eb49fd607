package conformance

// cases_watch.go: Watch from a snapshot on. What every stream must keep (order, revisions,
// cursors) is in stream.go. Bookmarks are in cases_bookmarks.go, cursors in cases_resume.go,
// crowds in cases_load.go.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var watchCases = []scenario{
	{
		id:          "watch/snapshot-then-changes",
		requirement: "A watch without a cursor gives Reset, every record as Put, Synced, then changes: puts and deletions always arrive.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			stays := s.create(s.host, record(key("svc", "stays"), sess.ID))
			changes := s.create(s.host, record(key("svc", "changes"), sess.ID))
			goes := s.create(s.host, record(key("other", "goes"), sess.ID))
			before := s.create(s.host, record(key("svc", "before"), sess.ID))
			s.done(s.host, remove(removal(before)))

			st := s.follow(s.second())
			s.must(st.events[0].Kind == ports.WatchReset && len(st.records) == 3 && len(st.events) == 5, "a Reset, three records, and a Synced", st.events)
			for _, rec := range []*ports.Record{stays, changes, goes} {
				s.mustEqual(st.records[rec.Key], rec, "the snapshot")
			}

			from := len(st.events)
			comes := s.create(s.host, record(key("svc", "comes"), sess.ID))
			changes = s.done(s.host, setState(ports.SetState{
				Key: changes.Key, Generation: changes.Generation, At: changes.UpdatedAt.Add(time.Second),
				Declared: &ports.DeclaredState{Declared: core.DeclaredStopping, Actor: "ops", Reason: "drain"},
			}))
			s.done(s.host, remove(removal(goes)))
			st.fence(s.host)
			s.mustEqual(st.records[comes.Key], comes, "the stream")
			s.mustEqual(st.records[changes.Key], changes, "the stream")
			s.must(st.deleted[goes.Key] != nil, "the removal of "+show(goes), st.events)
			s.check(len(st.since(from, stays.Key)) == 0 && st.resets == 1, "nothing of what did not change, and no Reset", st.events)
		},
	},
	{
		id:          "watch/empty",
		requirement: "A watch of an empty namespace gives Reset and Synced; the first records come as changes.",
		run: func(s *scene) {
			st := s.follow(s.second())
			s.must(len(st.events) == 2, "a Reset and a Synced", st.events)
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			st.through(rec.Revision)
			s.mustEqual(st.records[rec.Key], rec, "the stream")
		},
	},
	{
		id:          "watch/services",
		requirement: "WatchRequest.Services limits the stream to these names, in the snapshot and after it.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			services := []string{"a", "ab", "a.b", "a-b", "b", "A"}
			var recs []*ports.Record
			for _, service := range services {
				recs = append(recs, s.create(s.host, record(key(service, "x"), sess.ID)))
			}
			st := s.watch(s.second(), ports.WatchRequest{Services: []string{"a", "b", "none"}, Follow: true})
			st.synced()
			s.must(len(st.records) == 2 && st.records[key("a", "x")] != nil && st.records[key("b", "x")] != nil, "the records of a and b", st.events)
			for _, rec := range recs {
				s.create(s.host, record(key(rec.Key.Service, "y"), sess.ID))
				s.done(s.host, remove(removal(rec)))
			}
			first := s.create(s.host, record(key("none", "z"), sess.ID))
			st.through(first.Revision)
			want := []core.Key{key("a", "y"), key("b", "y"), key("none", "z")}
			s.must(len(st.records) == len(want), "records of a, b and none", st.events)
			for _, k := range want {
				s.must(st.records[k] != nil, k.String(), st.events)
			}
			for _, ev := range st.events {
				if ev.Record != nil {
					s.must(slices.Contains([]string{"a", "b", "none"}, ev.Record.Key.Service), "no other service", ev)
				}
				if ev.Tombstone != nil {
					s.must(slices.Contains([]string{"a", "b", "none"}, ev.Tombstone.Key.Service), "no other service", ev)
				}
			}
			st.agrees(s.host, key("a", "x"), key("a", "y"), key("b", "x"), key("b", "y"), first.Key)
		},
	},
	{
		id:          "watch/invalid",
		requirement: "A watch of services by names that no service can have is ErrInvalid.",
		run: func(s *scene) {
			for _, bad := range []string{"", "a/b", "-a", "a*", strings.Repeat("x", core.MaxName+1)} {
				w, err := s.host.Watch(s.ctx, ports.WatchRequest{Services: []string{"svc", bad}})
				if err == nil { // a store may refuse in its first event
					_, err = w.Next(s.ctx)
					s.must(w.Close() == nil, "the watch closes", nil)
				}
				s.mustBe(err, ports.ErrInvalid, fmt.Sprintf("a watch of a service %.40q", bad))
			}
		},
	},
	{
		id:          "watch/list",
		requirement: "Without Follow the stream is a list: Reset, records, Synced, then io.EOF, and io.EOF again.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			var recs []*ports.Record
			for i := range 10 {
				recs = append(recs, s.create(s.host, record(key(fmt.Sprintf("svc-%d", i%2), fmt.Sprintf("id-%d", i)), sess.ID)))
			}
			s.done(s.host, remove(removal(recs[9])))
			all := s.list(s.second())
			s.must(len(all.events) == 11, "a Reset, nine records, and a Synced", all.events)
			for _, rec := range recs[:9] {
				s.mustEqual(all.records[rec.Key], rec, "the list")
			}
			_, err := all.read(waitLimit)
			s.must(errors.Is(err, io.EOF), "io.EOF again", err)
			one := s.list(s.second(), "svc-1")
			s.must(len(one.records) == 4, "the four records of svc-1", one.events)
			none := s.list(s.second(), "svc")
			s.must(len(none.records) == 0, "no records of svc", none.events)
		},
	},
	{
		id:          "watch/deletes-say-why",
		requirement: "WatchDelete says what was removed and why, and comes after every Put of the record.",
		run: func(s *scene) {
			st := s.follow(s.second())
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			d := removal(rec)
			d.Cause, d.Actor, d.Reason = core.CauseOperator, "ops", "no longer needed"
			removed := s.done(s.host, remove(d))
			st.through(removed.Revision)
			events := st.since(0, rec.Key)
			s.must(len(events) > 0 && events[len(events)-1].Kind == ports.WatchDelete, "the Delete last", events)
			s.must(st.deleted[rec.Key] != nil && *st.deleted[rec.Key] == ports.Tombstone{
				Key: rec.Key, Generation: rec.Generation, Session: rec.Session, Cause: d.Cause, Actor: d.Actor, Reason: d.Reason, Revision: removed.Revision,
			}, "the tombstone of the Delete", st.deleted[rec.Key])
		},
	},
	{
		id:          "watch/states",
		requirement: "With the capability History a watch shows every intermediate state; without it fast ones may merge. Final states and deletions always arrive.",
		run: func(s *scene) {
			st := s.follow(s.second())
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			revisions := []core.Revision{rec.Revision}
			for i := range 60 {
				rec = s.done(s.host, setState(ports.SetState{
					Key: rec.Key, Generation: rec.Generation, At: rec.UpdatedAt, Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: i + 1},
				}))
				revisions = append(revisions, rec.Revision)
			}
			st.through(rec.Revision)
			s.mustEqual(st.records[rec.Key], rec, "the final state in the stream")
			seen := st.since(0, rec.Key)
			s.must(!s.info.Capabilities.History || len(seen) == len(revisions), fmt.Sprintf("%d states, as the backend claims History", len(revisions)), seen)
			for _, ev := range seen {
				s.must(slices.Contains(revisions, ev.Record.Revision), "a state that was written", ev)
			}
			removed := s.done(s.host, remove(removal(rec)))
			next := record(rec.Key, sess.ID)
			next.Generation = rec.Generation.Next()
			back := s.create(s.host, next)
			st.through(back.Revision)
			s.mustEqual(st.records[rec.Key], back, "the final state in the stream")
			s.must(!s.info.Capabilities.History || slices.ContainsFunc(st.events, func(ev ports.WatchEvent) bool {
				return ev.Tombstone != nil && ev.Tombstone.Revision == removed.Revision
			}), "the deletion in between, as the backend claims History", st.since(0, rec.Key))
		},
	},
	{
		id:          "watch/many",
		requirement: "Watches do not disturb one another: each gives every change, and one that is closed leaves the others.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			hosts := []ports.Backend{s.host, s.second()}
			var streams []*stream
			for i := range 10 {
				streams = append(streams, s.follow(hosts[i%2]))
			}
			var keys []core.Key
			var last core.Revision
			for i := range 20 {
				if i == 10 {
					for _, st := range streams[8:] {
						s.must(st.watcher.Close() == nil, "a watch closes", nil)
					}
				}
				rec := s.create(hosts[i%2], record(key("svc", fmt.Sprintf("id-%d", i)), sess.ID))
				keys, last = append(keys, rec.Key), rec.Revision
			}
			for _, st := range streams[:8] {
				st.through(last)
				st.agrees(s.host, keys...)
			}

			// Those that begin while changes come, anew or from a cursor, give every change as well.
			before := s.follow(s.second())
			var anew, resumed []*stream
			keys = append(keys, s.amidWrites(func() {
				for i := range 20 {
					anew = append(anew, s.follow(hosts[i%2]))
					st := s.watch(hosts[i/2%2], ports.WatchRequest{Cursor: before.cursor, Follow: true})
					st.synced()
					resumed = append(resumed, st)
				}
			})...)
			last = s.create(s.host, record(key("svc", "last"), sess.ID)).Revision
			for i, st := range anew {
				st.through(last)
				st.agrees(s.host, keys...)
				resumed[i].through(last)
				s.resumed(resumed[i], before, keys)
			}
		},
	},
	{
		id:          "watch/outlives-its-opening",
		requirement: "The context of Watch bounds the opening alone; the stream lasts until the Watcher's Close.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			ctx, cancel := context.WithCancel(s.ctx)
			w, err := s.second().Watch(ctx, ports.WatchRequest{Follow: true})
			cancel()
			s.must(err == nil, "a watch is accepted", err)
			st := s.reading(w, core.Revision{})
			st.synced()
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			st.through(rec.Revision)
			s.mustEqual(st.records[rec.Key], rec, "the stream")
		},
	},
	{
		id:          "watch/close",
		requirement: "Watcher.Close makes a blocked Next return, may be called more than once, and leaves the watcher dead.",
		run: func(s *scene) {
			st := s.follow(s.host)
			ended := make(chan error, 1)
			go func() {
				for {
					if _, err := st.watcher.Next(s.ctx); err != nil {
						ended <- err
						return
					}
				}
			}()
			for range 2 {
				err := st.watcher.Close()
				s.must(err == nil, "the watch closes, and closes again", err)
			}
			select {
			case err := <-ended:
				s.mustBe(err, ports.ErrClosed, "Next of a closed watcher")
			case <-time.After(waitLimit):
				s.must(false, "Next returns", fmt.Sprintf("it was blocked for %s", waitLimit))
			}
			_, err := st.watcher.Next(s.ctx)
			s.mustBe(err, ports.ErrClosed, "Next of a closed watcher")
			s.must(s.host.Health(s.ctx) == nil, "the backend goes on", nil)
		},
	},
	{
		id:          "watch/cancel",
		requirement: "Next returns promptly when its context ends, with the context's error or ErrUnavailable; the watcher is dead then.",
		run: func(s *scene) {
			s.promptly("a blocked Next returns", func() (took time.Duration) {
				st := s.follow(s.host)
				// The next Bookmark is far, so that none is what Next returns with.
				st.until("a Bookmark", waitLimit, func() bool { return st.last().Kind == ports.WatchBookmark })
				ctx, cancel := context.WithCancel(s.ctx)
				var ended time.Time
				time.AfterFunc(50*time.Millisecond, func() {
					ended = time.Now()
					cancel()
				})
				var err error
				for err == nil {
					over := ctx.Err()
					_, err = st.watcher.Next(ctx)
					s.must(err != nil || over == nil, "no event once the context has ended", err)
					if took == 0 && ctx.Err() != nil {
						took = time.Since(ended)
					}
				}
				s.must(ctx.Err() != nil && isEnd(err, context.Canceled), "the context's error", err)
				_, err = st.watcher.Next(s.ctx)
				s.must(err != nil, "an error of a dead watcher", err)
				return took
			})
		},
	},
}
