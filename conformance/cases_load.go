package conformance

// cases_load.go: many records, slow readers, and everybody at once.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var loadCases = []scenario{
	{
		id:          "load/large-snapshot",
		requirement: "A snapshot holds every record, however many; 10,000 here.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			const services, each = 10, 1_000
			var puts []ports.Mutation
			for i := range services * each {
				rec := record(key(fmt.Sprintf("svc-%d", i%services), fmt.Sprintf("id-%d", i)), sess.ID)
				rec.Body = []byte(fmt.Sprintf(`{"v":1,"i":%d,"pad":%q}`, i, strings.Repeat("p", 300)))
				puts = append(puts, put(rec))
			}
			var large []core.Key
			for i := range 64 { // more in all than one message of many a store, or client, holds
				rec := record(key("large", fmt.Sprintf("id-%d", i)), sess.ID)
				rec.Body = []byte(fmt.Sprintf("%q", strings.Repeat("p", ports.MaxBodyBytes-2)))
				puts, large = append(puts, put(rec)), append(large, rec.Key)
			}
			recs := s.doneAll(s.host, puts)
			for i, found := range s.get(s.second(), large...) {
				s.mustEqual(found.Record, recs[services*each+i], "Get of many large bodies")
			}
			var list, watch *stream
			busy := s.amidWrites(func() { list, watch = s.list(s.second()), s.follow(s.second()) })
			for what, st := range map[string]*stream{"a list": list, "a watch": watch} {
				for _, rec := range recs {
					s.mustEqual(st.records[rec.Key], rec, what)
					delete(st.records, rec.Key)
				}
				for k := range st.records {
					s.must(k.Service == "busy", fmt.Sprintf("no more than the %d records in %s, and what comes and goes", len(recs), what), k)
				}
			}
			watch.fence(s.host)
			watch.agrees(s.host, busy...)
			one := s.list(s.second(), "svc-3")
			s.must(len(one.records) == each, fmt.Sprintf("%d records of one service", each), len(one.records))
		},
	},
	{
		id:          "load/slow-reader",
		requirement: "A slow reader gets every final state and deletion, or a Reset and a snapshot; never a silent gap.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			const records, rounds = 200, 15
			body := func(round int) []byte {
				return []byte(fmt.Sprintf(`{"v":1,"round":%d,"pad":%q}`, round, strings.Repeat("p", 4<<10)))
			}
			var muts []ports.Mutation
			var keys []core.Key
			for i := range records {
				rec := record(key("svc", fmt.Sprintf("id-%d", i)), sess.ID)
				rec.Body = body(0)
				muts, keys = append(muts, put(rec)), append(keys, rec.Key)
			}
			st := s.follow(s.second())
			recs := s.doneAll(s.host, muts)
			for round := 1; round <= rounds; round++ { // 12 MB that nobody reads
				muts = muts[:0]
				for _, rec := range recs {
					update := *rec
					update.Body = body(round)
					muts = append(muts, replace(update, rec.Generation))
				}
				recs = s.doneAll(s.host, muts)
			}
			muts = muts[:0]
			for _, rec := range recs[:records/2] {
				muts = append(muts, remove(removal(rec)))
			}
			s.doneAll(s.host, muts)
			st.fence(s.host)
			s.must(len(st.records) == records/2+1, fmt.Sprintf("%d records, and the fence", records/2), len(st.records))
			st.agrees(s.host, keys...)
		},
	},
	{
		id:          "load/every-method-at-once",
		requirement: "Every method is safe for concurrent use.",
		run: func(s *scene) {
			hosts := []ports.Backend{s.host, s.second()}
			sess := s.session(s.host, longTTL)
			var group sync.WaitGroup
			errs := make(chan error, 64)
			ctx, cancel := context.WithCancel(s.ctx)
			defer group.Wait()
			defer cancel()
			for w := range 6 {
				b := hosts[w%2]
				group.Go(func() {
					for i := range 15 {
						if err := useEverything(ctx, b, sess.ID, key("svc", fmt.Sprintf("id-%d-%d", w, i))); err != nil {
							errs <- err
							return
						}
					}
				})
			}
			group.Wait()
			close(errs)
			for err := range errs {
				s.check(false, "every call succeeds", err)
			}
		},
	},
}

// useEverything calls each method on a session and a key of the caller's own.
func useEverything(ctx context.Context, b ports.Backend, session ports.SessionID, k core.Key) error {
	own := newSessionID()
	rec := record(k, session)
	move := rec
	move.Session = own
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"open a session", func() error {
			_, err := b.OpenSession(ctx, sessionSpec(own, longTTL))
			return err
		}},
		{"renew", func() error {
			res, err := b.RenewSessions(ctx, []ports.SessionID{session, own})
			if err == nil && (res[0].Gone || res[1].Gone) {
				err = fmt.Errorf("an open session is gone: %+v", res)
			}
			return err
		}},
		{"apply", func() error {
			results, err := applyAll(ctx, b, []ports.Mutation{
				put(rec), replace(move, rec.Generation),
				setState(ports.SetState{Key: k, Generation: rec.Generation, Observed: &ports.ObservedState{Observed: core.ObservedHealthy}}),
			})
			for _, res := range results {
				err = errors.Join(err, res.Err)
			}
			return err
		}},
		{"get", func() error { return holds(ctx, b, k, func(f ports.Found) bool { return f.Record != nil }) }},
		{"health", func() error { return b.Health(ctx) }},
		{"watch", func() error {
			w, err := b.Watch(ctx, ports.WatchRequest{Services: []string{k.Service}, Follow: true})
			if err != nil {
				return err
			}
			for kind := ports.WatchReset; err == nil && kind != ports.WatchSynced; {
				var ev ports.WatchEvent
				ev, err = w.Next(ctx)
				kind = ev.Kind
			}
			return errors.Join(err, w.Close())
		}},
		{"close the session", func() error { return b.CloseSession(ctx, own) }},
		{"get what went with the session", func() error { return holds(ctx, b, k, func(f ports.Found) bool { return f.Tombstone != nil }) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		_ = b.Info()
	}
	return nil
}

// holds reads a key and asks for something of the answer.
func holds(ctx context.Context, b ports.Backend, k core.Key, so func(f ports.Found) bool) error {
	found, err := b.Get(ctx, []core.Key{k})
	if err == nil && !so(found[0]) {
		err = fmt.Errorf("came: %s", show(found[0]))
	}
	return err
}
