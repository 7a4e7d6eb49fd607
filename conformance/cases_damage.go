package conformance

// cases_damage.go: documents that something else wrote or broke. The harness writes into the
// store past the backend (Vandal).

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var damageCases = []scenario{
	{
		id:          "damage/corrupt-record",
		requirement: "A record that cannot be read is left out and reported as WatchSkipped, by watches that run as well; it empties no answer, and nobody loses another record over it.",
		writes:      true,
		run: func(s *scene) {
			corrupt := func(v Vandal, k core.Key) error { return v.Corrupt(s.ctx, s.namespace, k) }
			s.unreadable(corrupt, func(*ports.Record) {}, `no { JSON`, "\x00\xff\xfe", "", `{"v":1`)
		},
	},
	{
		id:          "damage/newer-format",
		requirement: "A record of a format that is newer than the backend reads is left out and reported, like one that cannot be read; writes of its key are ErrUnsupported and leave it as it is. It goes with its session.",
		writes:      true,
		run: func(s *scene) {
			const field = "of_the_newer_format"
			value := json.RawMessage(`{"kept":true}`)
			damage := func(v Vandal, k core.Key) error {
				err := v.AddField(s.ctx, s.namespace, k, field, value)
				if err == nil {
					err = v.NewerFormat(s.ctx, s.namespace, k)
				}
				return err
			}
			bad := s.unreadable(damage, func(bad *ports.Record) {
				above := *bad
				above.Generation = bad.Generation.Next()
				for _, m := range []ports.Mutation{
					put(above), replace(above, bad.Generation), remove(removal(bad)),
					setState(ports.SetState{Key: bad.Key, Generation: bad.Generation, At: bad.UpdatedAt, Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 1}}),
				} {
					s.refused(s.host, m, ports.ErrUnsupported)
					came, err := s.vandal().Field(s.ctx, s.namespace, bad.Key, field)
					s.must(err == nil && sameJSON(came, value), fmt.Sprintf("the field %s after %s", value, describe(m)), string(came), err)
				}
			}, `{"v":999}`, `{"v":999,"host":"h","port":1}`)
			if bad == nil {
				return
			}
			left := s.list(s.second(), bad.Key.Service)
			s.must(!left.skipped(bad.Key), "nothing at "+bad.Key.String()+" after its session was closed", left.events)
			later := *bad
			later.Generation, later.Session = bad.Generation.Next(), s.session(s.second(), longTTL).ID
			s.create(s.second(), later)
		},
	},
	{
		id:          "damage/unknown-fields",
		requirement: "Fields that a newer version added to a record are ignored, and kept through every rewrite.",
		writes:      true,
		run: func(s *scene) {
			a, b := s.session(s.host, longTTL), s.session(s.second(), longTTL)
			rec := s.create(s.host, record(key("svc", "a"), a.ID))
			const field = "added_by_a_newer_version"
			value := json.RawMessage(`{"kept":[1,"ü"]}`)
			err := s.vandal().AddField(s.ctx, s.namespace, rec.Key, field, value)
			if s.keepsNoDocuments(err) {
				s.opaque(fmt.Sprintf(`{"v":1,"host":"h","port":1,%q:%s}`, field, value))
				return
			}
			s.must(err == nil, "the harness adds a field", err)
			found := s.get(s.second(), rec.Key)[0].Record
			s.must(found != nil, show(rec)+" can be read", found)
			want := asStored(*rec, found.Revision)
			s.mustEqual(found, want, "Get")
			adoption := *rec
			adoption.Session = b.ID
			for _, m := range []ports.Mutation{
				setState(ports.SetState{Key: rec.Key, Generation: rec.Generation, At: rec.UpdatedAt, Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 1}}),
				replace(*rec, rec.Generation), replace(adoption, rec.Generation),
			} {
				s.done(s.second(), m)
				came, err := s.vandal().Field(s.ctx, s.namespace, rec.Key, field)
				s.must(err == nil && sameJSON(came, value), fmt.Sprintf("the field %s after %s", value, describe(m)), string(came), err)
			}
		},
	},
}

// unreadable damages one record of three, and asks that it alone is left out, and said to be. What
// else a caller asks comes in between, and in the end their session is closed. Where the store has no
// documents, bodies stand in for it, and nil is returned.
func (s *scene) unreadable(damage func(v Vandal, k core.Key) error, ask func(bad *ports.Record), bodies ...string) (bad *ports.Record) {
	s.Helper()
	sess := s.session(s.host, longTTL)
	bad = s.create(s.host, record(key("svc", "bad"), sess.ID))
	good := s.create(s.host, record(key("svc", "good"), sess.ID))
	other := s.create(s.host, record(key("other", "good"), sess.ID))
	running := s.follow(s.second())
	err := damage(s.vandal(), bad.Key)
	if s.keepsNoDocuments(err) {
		s.opaque(bodies...)
		return nil
	}
	s.must(err == nil, "the harness damages a record", err)
	st := s.follow(s.second())
	for what, stream := range map[string]*stream{"a watch": st, "a list": s.list(s.host)} {
		s.must(len(stream.records) == 2, "two records in "+what, stream.events)
		s.mustEqual(stream.records[good.Key], good, what)
		s.mustEqual(stream.records[other.Key], other, what)
		s.must(stream.skipped(bad.Key), "WatchSkipped with the key in "+what, stream.events)
	}
	s.stands(s.host, good)
	for _, keys := range [][]core.Key{{other.Key, good.Key}, {bad.Key, good.Key}, {good.Key, bad.Key, other.Key}} {
		for i, found := range s.get(s.host, keys...) {
			if keys[i] == bad.Key {
				s.must(found.Record == nil, "Get gives nothing of what cannot be read", found)
			} else {
				s.must(found.Record != nil, "Get finds "+keys[i].String()+" beside what cannot be read", found)
			}
		}
	}

	ask(bad)
	update := s.done(s.host, replace(*good, good.Generation))
	again := s.create(s.host, record(key("svc", "later"), sess.ID))
	for _, st := range []*stream{st, running} {
		st.through(again.Revision)
		s.mustEqual(st.records[update.Key], update, "the stream")
		s.mustEqual(st.records[again.Key], again, "the stream")
		s.must(st.skipped(bad.Key), "WatchSkipped in a watch that ran before, too", st.events)
	}
	s.must(s.host.CloseSession(s.ctx, sess.ID) == nil, "the session closes", nil)
	for _, k := range []core.Key{good.Key, other.Key, again.Key} {
		s.gone(s.second(), k)
	}
	return bad
}

// vandal is the harness's means; Case.Missing has seen that they are there.
func (s *scene) vandal() Vandal {
	s.Helper()
	v, ok := s.harness.(Vandal)
	s.must(ok, "a harness that implements Vandal", fmt.Sprintf("%T", s.harness))
	return v
}

// keepsNoDocuments believes a harness that there is nothing to write into, of a store that no
// second host can share.
func (s *scene) keepsNoDocuments(err error) bool {
	s.Helper()
	if !errors.Is(err, ports.ErrUnsupported) {
		return false
	}
	s.must(!s.info.Capabilities.MultiHost, "documents in a store that several hosts share, for the harness to write into", err)
	return true
}

// opaque asks what shows through the backend where nothing else can be reached: bodies that
// the core cannot read, or knows only in part, come back as they were through every write of
// others, and disturb no answer.
func (s *scene) opaque(bodies ...string) {
	s.Helper()
	a, b := s.session(s.host, longTTL), s.session(s.second(), longTTL)
	good := s.create(s.host, record(key("opaque", "good"), a.ID))
	for i, body := range bodies {
		rec := record(key("opaque", fmt.Sprintf("id-%d", i)), a.ID)
		rec.Body = []byte(body)
		s.create(s.host, rec)
		stored := s.done(s.second(), setState(ports.SetState{
			Key: rec.Key, Generation: rec.Generation, At: rec.UpdatedAt.Add(time.Second), Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 1},
		}))
		s.must(string(stored.Body) == body, fmt.Sprintf("the body %q after a status", body), string(stored.Body))
		adopted := *stored
		adopted.Session = b.ID
		stored = s.done(s.second(), replace(adopted, stored.Generation))
		s.must(string(stored.Body) == body, fmt.Sprintf("the body %q after an adoption", body), string(stored.Body))
		s.stands(s.host, stored)
		listed := s.list(s.second(), "opaque").records
		s.mustEqual(listed[rec.Key], stored, "a list")
		s.mustEqual(listed[good.Key], good, "a list")
	}
}

// skipped reports whether the stream has said that a key could not be read. That it says why
// is asked of every stream.
func (st *stream) skipped(k core.Key) bool {
	return slices.ContainsFunc(st.events, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchSkipped && ev.Key == k })
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	first, _ := json.Marshal(x)  // it was just read
	second, _ := json.Marshal(y) // it was just read
	return string(first) == string(second)
}
