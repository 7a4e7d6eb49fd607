package conformance

// cases_random.go: random operations, one after another, against the reference model. The
// property library shrinks what fails to the few steps that matter.

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var randomCases = []scenario{
	{
		id:          "random/model",
		requirement: "Whatever is done in whatever order, every answer, every read, every list and every stream is what the contract says of it.",
		run: func(s *scene) {
			const trials = 30
			trial := 0
			s.property(trials, rapid.SliceOfN(rapid.Custom(drawStep), 10, 40), func(s *scene, steps []randomStep) {
				trial++
				newWorld(s, trial).play(steps)
			})
		},
	},
}

// randomStep is one step of a trial. Its numbers choose among what there is at that moment.
type randomStep struct {
	what      string
	key       int
	session   int
	host      int // of the two handles
	base      int // 0: the generation that is stored, or was last; 1: one above; 2: one below; 3: another of the same number
	guard     int // 0: no IfRevision; 1: that which is stored; 2: another
	guardBy   int // 0: no Session; 1: the record's; 2: another
	variation int // of what is written
	items     int // of a batch, these included
}

func drawStep(t *rapid.T) randomStep {
	n := func(label string, most int) int { return rapid.IntRange(0, most).Draw(t, label) }
	return randomStep{
		what: rapid.SampledFrom([]string{
			"create", "create", "takeover", "update", "adopt", "state", "state", "delete", "retry",
			"batch", "get", "list", "close session", "open session", "open session", "renew", "watch on",
		}).Draw(t, "what"),
		key: n("key", 3), session: n("session", 2), host: n("host", 1), base: n("base", 6), guard: n("guard", 4),
		guardBy: n("guardBy", 4), variation: n("variation", 9), items: n("items", 5),
	}
}

func (r randomStep) String() string {
	return fmt.Sprintf("%s{key %d, session %d, host %d, base %d, guard %d/%d, variation %d, items %d}",
		r.what, r.key, r.session, r.host, r.base, r.guard, r.guardBy, r.variation, r.items)
}

// world is a trial at work: the store and the model of it, side by side.
type world struct {
	s        *scene
	hosts    []ports.Backend
	keys     []core.Key
	sessions []ports.SessionID // open, but for those in closed
	closed   map[ports.SessionID]bool
	places   map[core.Key]place
	last     []ports.Mutation // that was carried out, to be sent again
	stream   *stream
	shown    core.Revision // of the last snapshot: deletions up to it need not be in the stream
	resets   int           // of the stream, up to that
}

func newWorld(s *scene, trial int) *world {
	s.Helper()
	w := &world{
		s: s, hosts: []ports.Backend{s.host, s.second()}, closed: make(map[ports.SessionID]bool), places: make(map[core.Key]place),
	}
	for _, k := range []string{"a", "a.b", "b"} {
		w.keys = append(w.keys, key(fmt.Sprintf("svc-%d", trial), k))
	}
	w.keys = append(w.keys, key(fmt.Sprintf("other-%d", trial), "a"))
	for range 3 {
		w.sessions = append(w.sessions, s.session(s.host, longTTL).ID)
	}
	w.stream = s.watch(w.hosts[1], ports.WatchRequest{Services: w.services(), Follow: true})
	w.synced()
	return w
}

// synced reads on to the next Synced.
func (w *world) synced() {
	w.s.Helper()
	w.stream.synced()
	w.noteSnapshot()
}

// noteSnapshot notes where the last snapshot ended.
func (w *world) noteSnapshot() {
	if w.stream.resets > w.resets && !w.stream.loading {
		w.shown, w.resets = w.stream.cursor, w.stream.resets
	}
}

func (w *world) services() []string { return []string{w.keys[0].Service, w.keys[3].Service} }

// play takes the steps, and asks for agreement after each and in the end.
func (w *world) play(steps []randomStep) {
	w.s.Helper()
	for _, step := range steps {
		w.take(step)
	}
	w.look(w.hosts[1], w.keys...)
	w.listed(w.hosts[0])
	w.caughtUp()
	for _, id := range w.sessions {
		w.end(id)
	}
	w.look(w.hosts[0], w.keys...)
	w.caughtUp()
}

// reopen opens another session in place of one that ended, whose id is refused; where none did,
// one that is open.
func (w *world) reopen(b ports.Backend, n int) {
	w.s.Helper()
	for i := range w.sessions {
		if at := (n + i) % len(w.sessions); w.closed[w.sessions[at]] {
			_, err := b.OpenSession(w.s.ctx, sessionSpec(w.sessions[at], longTTL))
			w.s.mustBe(err, ports.ErrSessionGone, "opening the id of a session that ended")
			w.sessions[at] = w.s.session(b, longTTL).ID
			return
		}
	}
	again, err := b.OpenSession(w.s.ctx, sessionSpec(w.sessions[n], longTTL))
	w.s.must(err == nil && again.ID == w.sessions[n], "session "+string(w.sessions[n])+", which is open", again, err)
}

func (w *world) take(step randomStep) {
	w.s.Helper()
	b := w.hosts[step.host]
	switch step.what {
	case "get":
		w.look(b, w.keys...)
	case "list":
		w.listed(b)
	case "watch on":
		w.s.must(w.stream.watcher.Close() == nil, "a watch closes", nil)
		w.stream, w.resets = w.stream.resumed(b, w.services()...), 0
		w.synced()
		w.caughtUp()
	case "open session":
		w.reopen(b, step.session)
	case "close session":
		if step.variation%2 == 1 { // not so often, as all goes with it
			w.end(w.sessions[step.session])
		}
	case "renew":
		res, err := b.RenewSessions(w.s.ctx, w.sessions)
		w.s.must(err == nil && len(res) == len(w.sessions), "a result for each session", res, err)
		for i, r := range res {
			w.s.must(r.ID == w.sessions[i] && r.Gone == w.closed[r.ID], fmt.Sprintf("session %s, gone: %v", w.sessions[i], w.closed[w.sessions[i]]), r)
		}
	case "retry":
		if len(w.last) > 0 {
			w.apply(b, w.last)
		}
	case "batch":
		var muts []ports.Mutation
		for i := range step.items + 1 {
			item := step
			item.what = []string{"create", "state", "update", "delete", "takeover", "adopt"}[(step.variation+i)%6]
			item.key, item.session = (step.key+i/2)%len(w.keys), (step.session+i)%len(w.sessions)
			muts = append(muts, w.mutation(item))
		}
		w.apply(b, muts)
	default:
		w.apply(b, []ports.Mutation{w.mutation(step)})
	}
}

// mutation makes the mutation of a step out of what is stored.
func (w *world) mutation(step randomStep) ports.Mutation {
	k := w.keys[step.key]
	at := w.places[k]
	var stored core.Generation
	under := newSessionID()
	switch {
	case at.record != nil:
		stored, under = at.record.Generation, at.record.Session
	case at.tombstone != nil:
		stored = at.tombstone.Generation
	}
	base := stored
	switch step.base {
	case 1:
		base = stored.Next()
	case 2:
		base = core.Generation{N: max(stored.N, 2) - 1, Random: "below"}
	case 3:
		base = core.Generation{N: max(stored.N, 1), Random: stored.Random + "x"}
	}
	var revision core.Revision
	switch step.guard {
	case 1:
		revision = at.revision()
	case 2:
		revision = core.Revision{Epoch: w.stream.cursor.Epoch, N: at.revision().N + 1}
	}
	var session ports.SessionID
	switch step.guardBy {
	case 1:
		session = under
	case 2:
		session = w.sessions[step.session]
	}
	rec := record(k, w.sessions[step.session])
	rec.Owner = fmt.Sprintf("owner-%d", step.variation)
	rec.Body = fmt.Appendf(nil, `{"v":1,"variation":%d}`, step.variation)
	declared := []core.Declared{core.DeclaredUp, core.DeclaredMaintenance, core.DeclaredStopping, core.DeclaredStarting}[step.variation%4]
	observed := []core.Observed{core.ObservedHealthy, core.ObservedUnhealthy, core.ObservedUnknown}[step.variation%3]
	rec.State.Declared, rec.State.Observed, rec.State.Streak = declared, observed, step.variation
	m := put(rec)
	m.Put.IfRevision = revision
	switch step.what {
	case "create":
		m.Put.Record.Generation = stored.Next()
		if step.base == 2 || step.base == 3 {
			m.Put.Record.Generation = base
		}
	case "takeover":
		m.Put.Replaces, m.Put.Record.Generation = base, base.Next()
	case "update", "adopt":
		if base.IsZero() {
			base = base.Next()
		}
		m.Put.Replaces, m.Put.Record.Generation = base, base
		if step.what == "update" && at.record != nil && !w.closed[under] {
			m.Put.Record.Session = under
		}
	case "state":
		c := ports.SetState{Key: k, Generation: base, Session: session, IfRevision: revision, At: rec.UpdatedAt.Add(time.Duration(step.variation) * time.Second)}
		if step.variation%3 != 0 {
			c.Declared = &ports.DeclaredState{Declared: declared, ByOperator: step.variation%2 == 0, Actor: "ops", Reason: fmt.Sprint(step.variation)}
		}
		if step.variation%3 != 1 {
			c.Observed = &ports.ObservedState{Observed: observed, Streak: step.variation}
		}
		return setState(c)
	case "delete":
		cause := []core.Cause{core.CauseDeregistered, core.CauseOperator, core.CauseExpired}[step.variation%3]
		return remove(ports.Delete{Key: k, Generation: base, Session: session, IfRevision: revision, Cause: cause, Actor: "ops", Reason: fmt.Sprint(step.variation)})
	}
	return m
}

// apply sends mutations to the store and to the model.
func (w *world) apply(b ports.Backend, muts []ports.Mutation) {
	w.s.Helper()
	results := w.s.apply(b, muts...)
	for i, m := range muts {
		k, res := m.Key(), results[i]
		before := w.places[k]
		open := m.Put == nil || !w.closed[m.Put.Record.Session]
		after, refusal := before.foresee(m, open)
		what := fmt.Sprintf("%s, where there is %s,", describe(m), before)
		if refusal != nil {
			w.s.mustBe(res.Err, refusal, what)
			if len(muts) == 1 && !errors.Is(refusal, ports.ErrSessionGone) {
				diff := before.differs(ports.Found{Record: res.Record, Tombstone: res.Tombstone})
				w.s.must(diff == "", what+" is refused with what is there", res, diff)
			}
			continue
		}
		w.s.must(res.Err == nil && res.Record != nil, what+" is done", res)
		if after == before {
			w.s.mustEqual(res.Record, before.record, what+" is a retry and")
			continue
		}
		earlier := before.revision()
		w.s.must(earlier.IsZero() || res.Record.Revision.Epoch == earlier.Epoch && res.Record.Revision.N > earlier.N, what+" has a later revision than "+show(earlier), res)
		after = after.settled(res.Record.Revision)
		if after.record != nil {
			w.s.mustEqual(res.Record, after.record, what)
		}
		w.places[k], w.last = after, []ports.Mutation{m}
	}
}

// end closes a session, with everything under it.
func (w *world) end(id ports.SessionID) {
	w.s.Helper()
	err := w.s.host.CloseSession(w.s.ctx, id)
	w.s.must(err == nil, "the session closes", err)
	w.closed[id] = true
	for i, found := range w.s.get(w.s.host, w.keys...) {
		at := w.places[w.keys[i]]
		if at.record == nil || at.record.Session != id {
			continue
		}
		w.s.ended(found.Tombstone, at.record, core.CauseDeregistered)
		w.places[w.keys[i]] = at.ended(core.CauseDeregistered).settled(found.Tombstone.Revision)
	}
}

// look asks that Get finds what the model holds.
func (w *world) look(b ports.Backend, keys ...core.Key) {
	w.s.Helper()
	for i, found := range w.s.get(b, keys...) {
		diff := w.places[keys[i]].differs(found)
		w.s.must(diff == "", fmt.Sprintf("Get of %s finds %s", keys[i], w.places[keys[i]]), found, diff)
	}
}

// listed asks the same of a list.
func (w *world) listed(b ports.Backend) {
	w.s.Helper()
	w.same(w.s.list(b, w.services()...).records, "a list")
}

// caughtUp asks the same of the stream, once it has sent everything, and why what is gone went:
// it does not wait for the proof, which may be a Bookmark away.
func (w *world) caughtUp() {
	w.s.Helper()
	w.stream.until("every record as it is stored, and every deletion", waitLimit, func() bool {
		w.noteSnapshot()
		for _, k := range w.keys {
			seen, want := w.stream.records[k], w.places[k].record
			if (seen == nil) != (want == nil) || seen != nil && seen.Revision != want.Revision {
				return false
			}
			if tomb := w.deletion(k); tomb != nil && (w.stream.deleted[k] == nil || w.stream.deleted[k].Revision != tomb.Revision) {
				return false
			}
		}
		return !w.stream.loading
	})
	w.same(w.stream.records, "the stream")
	for _, k := range w.keys {
		if want := w.deletion(k); want != nil {
			w.s.must(*w.stream.deleted[k] == *want, show(want)+" from the stream", w.stream.deleted[k])
		}
	}
}

// deletion is the tombstone of a key that the stream must have sent; nil for none.
func (w *world) deletion(k core.Key) *ports.Tombstone {
	tomb := w.places[k].tombstone
	if tomb == nil || !tomb.Revision.After(w.shown) {
		return nil
	}
	return tomb
}

func (w *world) same(records map[core.Key]*ports.Record, what string) {
	w.s.Helper()
	count := 0
	for _, k := range w.keys {
		if want := w.places[k].record; want != nil {
			count++
			w.s.mustEqual(records[k], want, what)
		}
	}
	w.s.must(len(records) == count, fmt.Sprintf("%d records in %s", count, what), slices.Collect(maps.Keys(records)))
}
