package conformance

// cases_apply.go: Apply as a batch, and Get.

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var applyCases = []scenario{
	{
		id:          "apply/whole-batch",
		requirement: "Apply takes MaxBatch items; each has a result of its own, in order, and is seen by every later call from any process.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			muts := make([]ports.Mutation, ports.MaxBatch)
			for i := range muts {
				muts[i] = put(record(key(fmt.Sprintf("svc-%d", i%7), fmt.Sprintf("id-%d", i)), sess.ID))
			}
			results := s.apply(s.host, muts...)
			for i, res := range results {
				s.must(res.Err == nil && res.Record != nil, fmt.Sprintf("item %d is done", i), res)
				s.mustEqual(res.Record, asStored(muts[i].Put.Record, res.Record.Revision), fmt.Sprintf("result %d", i))
			}
			for i, found := range s.get(s.second(), keysOf(muts)...) {
				s.mustEqual(found.Record, results[i].Record, fmt.Sprintf("Get of key %d of %d", i, len(muts)))
			}
		},
	},
	{
		id:          "apply/too-many",
		requirement: "Apply of more than MaxBatch items is ErrInvalid or ErrTooLarge for the whole call, and nothing is done.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			muts := make([]ports.Mutation, ports.MaxBatch+1)
			for i := range muts {
				muts[i] = put(record(key("svc", fmt.Sprintf("id-%d", i)), sess.ID))
			}
			s.refusedWhole(muts)
		},
	},
	{
		id:          "apply/too-large",
		requirement: "Apply takes MaxBatchBytes of bodies; more are ErrInvalid or ErrTooLarge for the whole call, and nothing is done.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			const pieces = 16
			batch := func(total int) []ports.Mutation {
				muts := make([]ports.Mutation, pieces)
				for i := range muts {
					rec := record(key(fmt.Sprintf("svc-%d", total), fmt.Sprintf("id-%d", i)), sess.ID)
					size := total / pieces
					if i == 0 {
						size += total % pieces
					}
					rec.Body = []byte(`"` + strings.Repeat("x", size-2) + `"`)
					muts[i] = put(rec)
				}
				return muts
			}
			s.refusedWhole(batch(ports.MaxBatchBytes + 1))
			for i, res := range s.apply(s.host, batch(ports.MaxBatchBytes)...) {
				s.must(res.Err == nil, fmt.Sprintf("item %d of a call of MaxBatchBytes is done", i), res)
			}
		},
	},
	{
		id:          "apply/not-atomic",
		requirement: "Each item is atomic and the batch is not: what is refused leaves the other items done.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			taken := s.create(s.host, record(key("svc", "taken"), sess.ID))
			stays := s.create(s.host, record(key("svc", "stays"), sess.ID))
			goes := s.create(s.host, record(key("svc", "goes"), sess.ID))
			wrong := removal(stays)
			wrong.Generation = stays.Generation.Next()
			first, last := record(key("svc", "first"), sess.ID), record(key("svc", "last"), sess.ID)
			tooLarge := record(key("svc", "too-large"), sess.ID)
			tooLarge.Body = []byte(`"` + strings.Repeat("x", ports.MaxBodyBytes) + `"`)
			results := s.apply(s.host,
				put(first), put(record(taken.Key, sess.ID)), remove(wrong), put(record(key("svc", "gone"), newSessionID())),
				remove(removal(goes)), put(tooLarge), remove(ports.Delete{Key: key("svc", "never"), Generation: stays.Generation, Cause: core.CauseOperator}),
				put(last))
			for i, want := range []error{nil, ports.ErrConflict, ports.ErrConflict, ports.ErrSessionGone, nil, ports.ErrTooLarge, ports.ErrNotFound, nil} {
				if want == nil {
					s.must(results[i].Err == nil, fmt.Sprintf("item %d is done", i), results[i])
				} else {
					s.mustBe(results[i].Err, want, fmt.Sprintf("item %d", i))
				}
			}
			s.mustEqual(results[1].Record, taken, "the conflict")
			s.mustEqual(results[2].Record, stays, "the conflict")
			s.stands(s.second(), results[0].Record)
			s.stands(s.second(), results[7].Record)
			s.stands(s.second(), taken)
			s.stands(s.second(), stays)
			for _, k := range []core.Key{goes.Key, tooLarge.Key, key("svc", "gone")} {
				s.gone(s.second(), k)
			}
		},
	},
	{
		id:          "apply/invalid-item",
		requirement: "An item that can never be carried out gives ErrInvalid, and the other items are done.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			good := record(key("svc", "good"), sess.ID)
			for _, bad := range []core.Key{{Service: "svc"}, {ID: "a"}, key("a/b", "c"), key("svc", "-a"), key("svc", strings.Repeat("x", core.MaxName+1)), key("svc", "é")} {
				good.Generation = good.Generation.Next()
				results := s.apply(s.host, put(record(bad, sess.ID)), put(good), remove(ports.Delete{Key: good.Key, Generation: good.Generation, Cause: core.CauseDeregistered}))
				s.mustBe(results[0].Err, ports.ErrInvalid, fmt.Sprintf("a record of the name %q", bad))
				s.must(results[1].Err == nil && results[2].Err == nil, "the other items are done", results[1], results[2])
			}
		},
	},
	{
		id:          "apply/impossible-item",
		requirement: "An item that sets nothing or two things, or puts a record without a generation, is ErrInvalid for itself, one with a body above MaxBodyBytes ErrTooLarge; the other items are done.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			first, last := record(key("svc", "first"), sess.ID), record(key("svc", "last"), sess.ID)
			two := put(record(key("svc", "two"), sess.ID))
			two.Delete = &ports.Delete{Key: two.Put.Record.Key, Generation: two.Put.Record.Generation, Cause: core.CauseDeregistered}
			none := put(record(key("svc", "none"), sess.ID))
			none.Put.Record.Generation = core.Generation{}
			large := put(record(key("svc", "large"), sess.ID))
			large.Put.Record.Body = []byte(`"` + strings.Repeat("x", ports.MaxBodyBytes-1) + `"`)
			muts := []ports.Mutation{put(first), {}, two, none, large, put(last)}
			results := s.apply(s.host, muts...)
			for i, want := range []error{nil, ports.ErrInvalid, ports.ErrInvalid, ports.ErrInvalid, ports.ErrTooLarge, nil} {
				if want == nil {
					s.must(results[i].Err == nil && results[i].Record != nil, fmt.Sprintf("item %d is done", i), results[i])
					s.stands(s.second(), results[i].Record)
					continue
				}
				s.mustBe(results[i].Err, want, fmt.Sprintf("item %d, %s,", i, describe(muts[i])))
			}
			for _, m := range []ports.Mutation{two, none, large} {
				tomb := s.gone(s.second(), m.Put.Record.Key)
				s.check(tomb == nil, "no trace of what was refused", tomb)
			}
		},
	},
	{
		id:          "apply/order-within-key",
		requirement: "Items for one key are carried out in order.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			steps := make([][]ports.Mutation, 5) // step by step, so that the items of one key do not stand together
			var lasting []ports.Record
			for i := range 3 {
				first := record(key("svc", fmt.Sprintf("id-%d", i)), sess.ID)
				second := first
				second.Generation = first.Generation.Next()
				third := second
				third.Generation = second.Generation.Next()
				third.Body = []byte(`{"v":1,"third":true}`)
				for n, m := range []ports.Mutation{
					put(first), replace(second, first.Generation),
					setState(ports.SetState{Key: first.Key, Generation: second.Generation, Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 1}}),
					remove(ports.Delete{Key: first.Key, Generation: second.Generation, Cause: core.CauseDeregistered}), put(third),
				} {
					steps[n] = append(steps[n], m)
				}
				lasting = append(lasting, third)
			}
			muts := slices.Concat(steps...)
			last := make(map[core.Key]core.Revision)
			for i, res := range s.apply(s.host, muts...) {
				s.must(res.Err == nil && res.Record != nil, fmt.Sprintf("item %d, %s, is done", i, describe(muts[i])), res)
				k := muts[i].Key()
				s.must(last[k].IsZero() || res.Record.Revision.N > last[k].N, "a revision above that of the item before, "+show(last[k]), res)
				last[k] = res.Record.Revision
			}
			for _, rec := range lasting {
				s.stands(s.second(), asStored(rec, last[rec.Key]))
			}
		},
	},
	{
		id:          "apply/nothing",
		requirement: "Apply and Get of nothing succeed and answer with nothing.",
		run: func(s *scene) {
			results, err := s.host.Apply(s.ctx, nil)
			s.check(err == nil && len(results) == 0, "no results", results, err)
			found, err := s.host.Get(s.ctx, nil)
			s.check(err == nil && len(found) == 0, "no answers", found, err)
		},
	},
}

// refusedWhole asks that a call is refused and that none of its Puts, of absent keys, is done.
func (s *scene) refusedWhole(muts []ports.Mutation) {
	s.Helper()
	st := s.follow(s.second())
	results, err := s.host.Apply(s.ctx, muts)
	s.must(len(sentinelsOf(err)) == 1 && (errors.Is(err, ports.ErrInvalid) || errors.Is(err, ports.ErrTooLarge)) && len(results) == 0,
		"an error that wraps ErrInvalid or ErrTooLarge, and no results", err, len(results))
	for keys := range slices.Chunk(keysOf(muts), ports.MaxBatch) {
		for i, found := range s.get(s.host, keys...) {
			s.must(found.Record == nil && found.Tombstone == nil, "nothing of "+keys[i].String(), found)
		}
	}
	st.fence(s.host)
	s.check(len(st.since(0, muts[0].Key())) == 0 && len(st.records) == 1, "no event of the call", st.events)
}

func keysOf(muts []ports.Mutation) []core.Key {
	keys := make([]core.Key, len(muts))
	for i, m := range muts {
		keys[i] = m.Key()
	}
	return keys
}

var getCases = []scenario{
	{
		id:          "get/answers",
		requirement: "Get answers in the order of the keys with a record, else a tombstone, else neither.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			stands := s.create(s.host, record(key("svc", "stands"), sess.ID))
			deleted := s.create(s.host, record(key("svc", "deleted"), sess.ID))
			removed := s.done(s.host, remove(removal(deleted)))
			back := s.create(s.host, record(key("svc", "back"), sess.ID))
			s.done(s.host, remove(removal(back)))
			next := record(back.Key, sess.ID)
			next.Generation = back.Generation.Next()
			back = s.create(s.host, next)
			never := key("svc", "never")
			found := s.get(s.second(), never, stands.Key, deleted.Key, back.Key, stands.Key, key("other", "stands"))
			s.must(found[0].Record == nil && found[0].Tombstone == nil, "neither for "+never.String(), found[0])
			s.mustEqual(found[1].Record, stands, "answer 1")
			s.must(found[2].Tombstone != nil && found[2].Tombstone.Revision == removed.Revision, "the tombstone of "+show(removed), found[2])
			s.mustEqual(found[3].Record, back, "answer 3")
			s.mustEqual(found[4].Record, stands, "answer 4, of a key asked twice,")
			s.must(found[5].Record == nil && found[5].Tombstone == nil, "neither for another service's id", found[5])
		},
	},
	{
		id:          "get/too-many",
		requirement: "Get takes MaxBatch keys; more are ErrInvalid.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "id-255"), sess.ID))
			keys := make([]core.Key, ports.MaxBatch)
			for i := range keys {
				keys[i] = key("svc", fmt.Sprintf("id-%d", i))
			}
			for i, found := range s.get(s.second(), keys...) {
				s.must((found.Record != nil) == (keys[i] == rec.Key) && found.Tombstone == nil, "the last key alone is stored", keys[i], found)
			}
			_, err := s.host.Get(s.ctx, append(keys, rec.Key))
			s.mustBe(err, ports.ErrInvalid, fmt.Sprintf("Get of %d keys", len(keys)+1))
		},
	},
	{
		id:          "get/linearizable",
		requirement: "Get sees every write acknowledged, by any process, before the call; what Apply acknowledged, every later call sees.",
		run: func(s *scene) {
			hosts := []ports.Backend{s.host, s.second()}
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			for i := range 50 {
				writer, reader := hosts[i%2], hosts[(i+1)%2]
				switch i % 3 {
				case 0:
					rec = s.done(writer, replace(*rec, rec.Generation))
				case 1:
					rec = s.done(writer, setState(ports.SetState{
						Key: rec.Key, Generation: rec.Generation, IfRevision: rec.Revision, At: rec.UpdatedAt,
						Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: i},
					}))
				default:
					removed := s.done(writer, remove(removal(rec)))
					tomb := s.gone(reader, rec.Key)
					s.must(tomb != nil && tomb.Revision == removed.Revision, "the tombstone of "+show(removed), tomb)
					next := record(rec.Key, sess.ID)
					next.Generation = rec.Generation.Next()
					rec = s.create(writer, next)
				}
				s.stands(reader, rec)
			}
		},
	},
	{
		id:          "get/list-linearizable",
		requirement: "A watch that does not follow is a linearizable list: it sees every write acknowledged before it.",
		run: func(s *scene) {
			hosts := []ports.Backend{s.host, s.second()}
			sess := s.session(s.host, longTTL)
			for i := range 10 {
				writer, reader := hosts[i%2], hosts[(i+1)%2]
				rec := s.create(writer, record(key("svc", fmt.Sprintf("id-%d", i)), sess.ID))
				listed := s.list(reader).records
				s.must(len(listed) == 1, "one record", len(listed))
				s.mustEqual(listed[rec.Key], rec, "the list")
				s.done(writer, remove(removal(rec)))
				listed = s.list(reader).records
				s.must(len(listed) == 0, "no record", len(listed))
			}
		},
	},
}
