package conformance

// cases_put.go: Put, by compare-and-set on the generation.

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var putCases = []scenario{
	{
		id:          "put/create",
		requirement: "Put with no Replaces stores a record where the key is absent; the answer is the record as stored, its Revision set by the backend.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := record(key("svc", "a"), sess.ID)
			given := rec
			given.Revision = core.Revision{Epoch: "nonsense", N: 99}
			stored := s.create(s.host, given)
			s.must(!stored.Revision.IsZero() && stored.Revision != given.Revision, "a revision of the backend's own", stored)
			s.mustEqual(stored, asStored(rec, stored.Revision), "the answer")
			s.stands(s.host, stored)
			s.stands(s.second(), stored)
		},
	},
	{
		id:          "put/every-field",
		requirement: "A record comes back as it was put, in every field; a new one carries its State, and times are kept to the millisecond.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			full := record(key("svc", "full"), sess.ID)
			at := time.Date(2031, 2, 3, 4, 5, 6, 789e6, time.UTC)
			full.Generation = core.Generation{N: 1<<63 + 1, Random: "R4nd0m"}
			full.RegisteredAt, full.UpdatedAt = at, at.Add(time.Hour)
			full.State = core.State{
				Declared: core.DeclaredStopping, Observed: core.ObservedUnhealthy, ByOperator: true, Actor: "token \"ops\"/7",
				Reason: "näm „x“ \n\t<&> \U0001F600", Streak: -12345, ChangedAt: at.Add(time.Minute),
			}
			bare := record(key("svc", "bare"), sess.ID)
			bare.Owner, bare.LeaseHash, bare.RegisteredAt, bare.UpdatedAt = "", "", time.Time{}, time.Time{}
			bare.State = core.State{Declared: core.DeclaredUp, Observed: core.ObservedUnknown}
			for _, rec := range []ports.Record{full, bare} {
				stored := s.create(s.host, rec)
				want := asStored(rec, stored.Revision)
				s.mustEqual(stored, want, "the answer")
				s.stands(s.second(), want)
				s.mustEqual(s.list(s.second()).records[rec.Key], want, "a list")
			}
		},
	},
	{
		id:          "put/body-bytes",
		requirement: "Body is opaque: its bytes come back exactly, up to MaxBodyBytes.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			pad := func(n int) string {
				const head, tail = `{"v":1,"p":"`, `"}`
				return head + strings.Repeat("xyZ9_+/=", n/8+1)[:n-len(head)-len(tail)] + tail
			}
			for i, body := range []string{
				`{}`, " {\n \"b\" : 1 ,\t\"a\":2}\r\n", `{"big":12345678901234567890.10,"e":1E400,"z":-0,"f":1.0}`,
				`{"html":"<&>","esc":"\u003c\/\u00e9\u0000\ud83d\ude00","raw":"é😀` + "\u2028" + `","dup":1,"dup":2}`,
				`{"nested":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`,
				pad(4 << 10), pad(64<<10 + 1), pad(ports.MaxBodyBytes),
			} {
				rec := record(key("svc", fmt.Sprintf("id-%d", i)), sess.ID)
				rec.Body = []byte(body)
				stored := s.create(s.host, rec)
				found := s.get(s.second(), rec.Key)[0]
				s.must(found.Record != nil, "the record is stored", found)
				listed := s.list(s.second()).records[rec.Key]
				s.must(listed != nil, "the record is listed", listed)
				for what, came := range map[string][]byte{"the answer": stored.Body, "Get": found.Record.Body, "a list": listed.Body} {
					s.must(bytes.Equal(came, []byte(body)), fmt.Sprintf("%s gives the %d bytes %.120q", what, len(body), body), fmt.Sprintf("%d bytes, %.120q", len(came), came))
				}
			}
		},
	},
	{
		id:          "put/arguments-not-kept",
		requirement: "A backend keeps no reference to its arguments after it returned.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := record(key("svc", "a"), sess.ID)
			want := bytes.Clone(rec.Body)
			muts := []ports.Mutation{put(rec)}
			s.apply(s.host, muts...)
			copy(rec.Body, `{"v":9,"host":"scribbled over"}`)
			muts[0].Put.Record.Owner = "scribbled over"
			found := s.get(s.host, rec.Key)[0]
			s.must(found.Record != nil && bytes.Equal(found.Record.Body, want) && found.Record.Owner == rec.Owner,
				fmt.Sprintf("body %q of %s", want, rec.Owner), fmt.Sprintf("body %q of %s", found.Record.Body, found.Record.Owner))
		},
	},
	{
		id:          "put/create-conflict",
		requirement: "Put with no Replaces where the key is taken gives ErrConflict with the record that stands in the way.",
		run: func(s *scene) {
			a, b := s.session(s.host, longTTL), s.session(s.second(), longTTL)
			first := s.create(s.host, record(key("svc", "a"), a.ID))
			for _, session := range []ports.SessionID{a.ID, b.ID} {
				res := s.refused(s.second(), put(record(first.Key, session)), ports.ErrConflict)
				s.mustEqual(res.Record, first, "the conflict")
			}
			s.stands(s.host, first)
		},
	},
	{
		id:          "put/takeover",
		requirement: "Put that replaces another generation is a take-over: the newer registration owns the record.",
		run: func(s *scene) {
			a, b := s.session(s.host, longTTL), s.session(s.second(), longTTL)
			first := s.create(s.host, record(key("svc", "a"), a.ID))
			next := record(first.Key, b.ID)
			next.Generation, next.Owner, next.Body = first.Generation.Next(), "newer", []byte(`{"v":1,"newer":true}`)
			next.State = core.State{Declared: core.DeclaredStarting, Observed: core.ObservedHealthy, Actor: "owner", Streak: 3, ChangedAt: next.UpdatedAt}
			taken := s.done(s.second(), replace(next, first.Generation))
			s.mustEqual(taken, asStored(next, taken.Revision), "the answer")
			s.must(taken.Revision.After(first.Revision), "a later revision than "+show(first.Revision), taken)
			s.stands(s.host, taken)
		},
	},
	{
		id:          "put/takeover-conflict",
		requirement: "A take-over asks that the stored generation is Replaces; else ErrConflict carries the current record, or what its absence left.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			first := s.create(s.host, record(key("svc", "a"), sess.ID))
			next := record(first.Key, sess.ID)
			next.Generation = first.Generation.Next()
			sameN := core.Generation{N: first.Generation.N, Random: first.Generation.Random + "x"}
			for _, wrong := range []core.Generation{first.Generation.Next(), sameN, {N: first.Generation.N + 7, Random: first.Generation.Random}} {
				res := s.refused(s.host, replace(next, wrong), ports.ErrConflict)
				s.mustEqual(res.Record, first, "the conflict")
			}
			s.stands(s.host, first)
			absent := record(key("svc", "absent"), sess.ID)
			res := s.refused(s.host, replace(absent, first.Generation), ports.ErrConflict)
			s.check(res.Record == nil && res.Tombstone == nil, "nothing stands in the way of a key that never was", res)
			s.gone(s.host, absent.Key)
		},
	},
	{
		id:          "put/update-keeps-state",
		requirement: "Put that replaces its own generation is an update: the description changes, and the stored State stays as it is.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			changed := s.done(s.host, setState(ports.SetState{
				Key: rec.Key, Generation: rec.Generation, At: rec.UpdatedAt.Add(time.Second),
				Declared: &ports.DeclaredState{Declared: core.DeclaredMaintenance, Actor: "ops", Reason: "disk"},
				Observed: &ports.ObservedState{Observed: core.ObservedUnhealthy, Streak: -4},
			}))
			update := *rec
			update.Body, update.Owner, update.LeaseHash = []byte(`{"v":1,"port":9}`), "owner-2", strings.Repeat("af", 32)
			update.RegisteredAt, update.UpdatedAt = rec.RegisteredAt.Add(time.Hour), rec.UpdatedAt.Add(time.Hour)
			stored := s.done(s.second(), replace(update, rec.Generation))
			want := asStored(update, stored.Revision)
			want.State = changed.State
			s.mustEqual(stored, want, "the answer")
			s.must(stored.Revision.After(changed.Revision), "a later revision than "+show(changed.Revision), stored)
			s.stands(s.host, want)
		},
	},
	{
		id:          "put/adoption",
		requirement: "Put that replaces its own generation under another session is an adoption: the record moves, and its State stays.",
		run: func(s *scene) {
			a, b := s.session(s.host, longTTL), s.session(s.second(), longTTL)
			rec := record(key("svc", "a"), a.ID)
			rec.State.Observed, rec.State.Streak = core.ObservedHealthy, 2
			first := s.create(s.host, rec)
			adopted := rec
			adopted.Session, adopted.Owner, adopted.State = b.ID, "adopter", core.State{Declared: core.DeclaredUp, Observed: core.ObservedUnknown}
			stored := s.done(s.second(), replace(adopted, first.Generation))
			want := asStored(adopted, stored.Revision)
			want.State = first.State
			s.mustEqual(stored, want, "the answer")
			s.stands(s.host, want)
		},
	},
	{
		id:          "put/update-absent",
		requirement: "Put that replaces its own generation where nothing is stored gives ErrConflict: an update never brings a record back.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			s.done(s.host, remove(removal(rec)))
			res := s.refused(s.host, replace(*rec, rec.Generation), ports.ErrConflict)
			s.check(res.Record == nil && res.Tombstone != nil && res.Tombstone.Generation == rec.Generation, "the tombstone that stands in the way", res)
			never := record(key("svc", "never"), sess.ID)
			s.refused(s.host, replace(never, never.Generation), ports.ErrConflict)
			s.gone(s.host, rec.Key)
			s.gone(s.host, never.Key)
		},
	},
	{
		id:          "put/update-superseded",
		requirement: "Put that replaces its own generation asks that it is the stored one: a superseded owner cannot write.",
		run: func(s *scene) {
			a, b := s.session(s.host, longTTL), s.session(s.second(), longTTL)
			old := s.create(s.host, record(key("svc", "a"), a.ID))
			next := record(old.Key, b.ID)
			next.Generation = old.Generation.Next()
			taken := s.done(s.second(), replace(next, old.Generation))
			res := s.refused(s.host, replace(*old, old.Generation), ports.ErrConflict)
			s.mustEqual(res.Record, taken, "the conflict")
			s.stands(s.host, taken)
		},
	},
	{
		id:          "put/retry",
		requirement: "A Put that was carried out is done when it is tried again: the same answer, no change, no event.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			st := s.follow(s.second())
			creation := put(record(key("svc", "a"), sess.ID))
			created := s.done(s.host, creation)
			next := record(created.Key, sess.ID)
			next.Generation = created.Generation.Next()
			takeover := replace(next, created.Generation)
			takeover.Put.IfRevision = created.Revision
			for range 2 {
				s.mustEqual(s.done(s.second(), creation), created, "the retry of a creation")
			}
			taken := s.done(s.host, takeover)
			for range 2 {
				s.mustEqual(s.done(s.second(), takeover), taken, "the retry of a take-over, whose IfRevision it has outdated itself,")
			}
			st.fence(s.host)
			s.check(len(st.since(0, created.Key)) <= 2, "no events but of the two writes", st.since(0, created.Key))
			s.mustEqual(st.records[created.Key], taken, "the stream")
		},
	},
	{
		id:          "put/same-generation-other-session",
		requirement: "A Put that does not replace its own generation, where that generation is stored under another session, gives ErrConflict.",
		run: func(s *scene) {
			a, b := s.session(s.host, longTTL), s.session(s.second(), longTTL)
			first := s.create(s.host, record(key("svc", "a"), a.ID))
			twin := *first
			twin.Session = b.ID
			for _, replaces := range []core.Generation{{}, first.Generation.Next()} {
				res := s.refused(s.second(), replace(twin, replaces), ports.ErrConflict)
				s.mustEqual(res.Record, first, "the conflict")
			}
			s.stands(s.host, first)
		},
	},
	{
		id:          "put/session-not-open",
		requirement: "Put under a session that is not open, or under none, gives ErrSessionGone, and nothing is written.",
		run: func(s *scene) {
			open := s.session(s.host, longTTL)
			never := newSessionID()
			first := s.create(s.host, record(key("svc", "a"), open.ID))
			st := s.follow(s.second())
			update := *first
			update.Session = never
			next := record(first.Key, never)
			next.Generation = first.Generation.Next()
			for _, m := range []ports.Mutation{
				put(record(key("svc", "b"), never)), put(record(key("svc", "b"), "")),
				replace(update, first.Generation), replace(next, first.Generation),
			} {
				s.refused(s.host, m, ports.ErrSessionGone)
			}
			s.stands(s.host, first)
			s.gone(s.host, key("svc", "b"))
			st.fence(s.host)
			s.check(len(st.since(0, key("svc", "b"))) == 0 && len(st.since(0, first.Key)) == 1, "no event", st.events)
		},
	},
	{
		id:          "put/if-revision",
		requirement: "IfRevision, when not zero, must be the stored revision, else ErrConflict, for updates, adoptions and take-overs alike.",
		run: func(s *scene) {
			a, b := s.session(s.host, longTTL), s.session(s.second(), longTTL)
			first := s.create(s.host, record(key("svc", "a"), a.ID))
			current := s.done(s.host, setState(ports.SetState{
				Key: first.Key, Generation: first.Generation, At: first.UpdatedAt,
				Declared: &ports.DeclaredState{Declared: core.DeclaredStopping, Actor: "ops", Reason: "drain"},
			}))
			adopted := *first
			adopted.Session = b.ID
			next := record(first.Key, b.ID)
			next.Generation = first.Generation.Next()
			ahead := core.Revision{Epoch: current.Revision.Epoch, N: current.Revision.N + 1000}
			foreign := core.Revision{Epoch: "another-epoch", N: current.Revision.N}
			for _, m := range []ports.Mutation{
				replace(*first, first.Generation), replace(adopted, first.Generation), replace(next, first.Generation),
			} {
				for _, stale := range []core.Revision{first.Revision, ahead, foreign} {
					m.Put.IfRevision = stale
					res := s.refused(s.second(), m, ports.ErrConflict)
					s.mustEqual(res.Record, current, "the conflict")
				}
				s.stands(s.host, current)
			}
			for _, m := range []ports.Mutation{
				replace(*first, first.Generation), replace(adopted, first.Generation), replace(next, first.Generation),
			} {
				m.Put.IfRevision = current.Revision
				current = s.done(s.second(), m)
			}
			absent := put(record(key("svc", "b"), a.ID))
			absent.Put.IfRevision = current.Revision
			s.refused(s.host, absent, ports.ErrConflict)
			s.gone(s.host, absent.Key())
		},
	},
	{
		id:          "put/maintenance-survives",
		requirement: "Where an operator's maintenance is stored, a take-over keeps the declared part of the State; all else is the Put's.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			at := rec.UpdatedAt.Add(-time.Hour)
			held := s.done(s.second(), setState(ports.SetState{
				Key: rec.Key, Generation: rec.Generation, At: at,
				Declared: &ports.DeclaredState{Declared: core.DeclaredMaintenance, ByOperator: true, Actor: "ops", Reason: "disk"},
				Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 9},
			}))
			for range 2 { // it survives more than one
				next := record(rec.Key, sess.ID)
				next.Generation = held.Generation.Next()
				next.State.Observed, next.State.Streak = core.ObservedUnhealthy, -1
				want := next
				want.State = core.State{
					Declared: core.DeclaredMaintenance, ByOperator: true, Actor: "ops", Reason: "disk",
					Observed: core.ObservedUnhealthy, Streak: -1, ChangedAt: held.State.ChangedAt,
				}
				taken := s.done(s.host, replace(next, held.Generation))
				s.mustEqual(taken, asStored(want, taken.Revision), "the take-over")
				s.stands(s.second(), taken)
				held = taken
			}
			s.done(s.host, remove(removal(held)))
			fresh := record(rec.Key, sess.ID)
			fresh.Generation = held.Generation.Next()
			stored := s.create(s.host, fresh)
			s.mustEqual(stored, asStored(fresh, stored.Revision), "it ends with the record: a new registration")
		},
	},
	{
		id:          "put/other-states-do-not-survive",
		requirement: "States other than an operator's maintenance do not survive a take-over.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			for _, declared := range []ports.DeclaredState{
				{Declared: core.DeclaredMaintenance, Actor: "owner", Reason: "its own"},
				{Declared: core.DeclaredStopping, ByOperator: true, Actor: "ops", Reason: "drain"},
				{Declared: core.DeclaredUp, ByOperator: true, Actor: "ops", Reason: "restored"},
			} {
				s.done(s.host, setState(ports.SetState{Key: rec.Key, Generation: rec.Generation, At: rec.UpdatedAt, Declared: &declared}))
				next := record(rec.Key, sess.ID)
				next.Generation = rec.Generation.Next()
				rec = s.done(s.host, replace(next, rec.Generation))
				s.mustEqual(rec, asStored(next, rec.Revision), fmt.Sprintf("the take-over from %+v", declared))
			}
		},
	},
	{
		id:          "put/revisions-increase",
		requirement: "A record's Revision strictly increases with each write of it, whatever the write, and past its removal.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			k := key("svc", "a")
			rec := record(k, sess.ID)
			var last core.Revision
			for round := range 3 {
				for step, m := range []ports.Mutation{
					put(rec), replace(rec, rec.Generation),
					setState(ports.SetState{Key: k, Generation: rec.Generation, Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 1}}),
					setState(ports.SetState{Key: k, Generation: rec.Generation, Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 2}}),
					remove(ports.Delete{Key: k, Generation: rec.Generation, Cause: core.CauseDeregistered}),
				} {
					stored := s.done(s.host, m)
					s.must(last.IsZero() || stored.Revision.Epoch == last.Epoch && stored.Revision.N > last.N,
						fmt.Sprintf("write %d of round %d has a revision above %s", step, round, last), stored)
					last = stored.Revision
				}
				rec.Generation = rec.Generation.Next()
			}
		},
	},
}
