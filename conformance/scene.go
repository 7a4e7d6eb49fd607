package conformance

// scene.go: what every case starts from: a namespace of its own, handles on it, and the
// short forms of what cases do and ask.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	caseLimit = 5 * time.Minute  // a case that takes longer hangs
	waitLimit = 30 * time.Second // for what should come at once, on a machine that is busy
	// graceAfterExpiry is how far beyond its own MaxExpiryDelay a backend fails.
	graceAfterExpiry = 5 * time.Second
	// longTTL outlives every case: its session ends when the case says so.
	longTTL = 10 * time.Minute
)

// scene is one case at work. Its methods end the case unless they say otherwise, so they are
// called from the goroutine of the case alone; others use the backends directly.
type scene struct {
	T
	ctx         context.Context
	harness     Harness
	requirement string
	seed        uint64 // of the random choices
	namespace   string
	host        ports.Backend // opened by newScene
	info        ports.Info
	other       ports.Backend // opened by second
}

func newScene(t T, h Harness, requirement string, seed uint64) *scene {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), caseLimit)
	t.Cleanup(cancel)
	s := &scene{T: t, ctx: ctx, harness: h, requirement: requirement, seed: seed}
	s.namespace = "conformance-" + strings.ToLower(rand.Text()[:12])
	s.host = s.open(s.namespace)
	s.info = s.host.Info()
	return s
}

// open opens a handle that is closed with the case. A store that does not answer in time, as where all the
// cases at once are too much for a machine, is asked again.
func (s *scene) open(namespace string) ports.Backend {
	s.Helper()
	b, err := s.harness.Open(s.ctx, namespace)
	for tries := 1; tries < 3 && errors.Is(err, ports.ErrUnavailable) && s.ctx.Err() == nil; tries++ {
		s.Logf("the store did not answer when it was opened: %s", err)
		b, err = s.harness.Open(s.ctx, namespace)
	}
	s.must(err == nil, "the harness opens the namespace "+namespace, err)
	s.Cleanup(func() {
		if err := b.Close(); err != nil {
			s.Errorf("close the backend: expected no error, came: %v", err)
		}
	})
	return b
}

// second is the handle of a second host where the backend can have one, else the same.
func (s *scene) second() ports.Backend {
	s.Helper()
	if !s.info.Capabilities.MultiHost {
		return s.host
	}
	if s.other == nil {
		s.other = s.open(s.namespace)
	}
	return s.other
}

// check reports a failure, and goes on, unless ok.
func (s *scene) check(ok bool, expected string, came ...any) {
	s.Helper()
	if !ok {
		s.Errorf("%s", s.failure(expected, came))
	}
}

// must reports a failure, and ends the case, unless ok.
func (s *scene) must(ok bool, expected string, came ...any) {
	s.Helper()
	if !ok {
		s.Fatalf("%s", s.failure(expected, came))
	}
}

func (s *scene) failure(expected string, came []any) string {
	words := make([]string, len(came))
	for i, c := range came {
		words[i] = show(c)
	}
	return fmt.Sprintf("required: %s\nexpected: %s\n    came: %s\n    seed: %d", s.requirement, expected, strings.Join(words, "; "), s.seed)
}

// mustBe asks for an error of one kind, which wraps that sentinel and no other.
func (s *scene) mustBe(err, sentinel error, what string) {
	s.Helper()
	kinds := sentinelsOf(err)
	s.must(len(kinds) == 1 && errors.Is(err, sentinel), fmt.Sprintf("%s gives an error that wraps %q alone", what, sentinel), err, kinds)
}

func sentinelsOf(err error) []error {
	all := []error{
		ports.ErrInvalid, ports.ErrNotFound, ports.ErrConflict, ports.ErrUnsupported, ports.ErrUnavailable, ports.ErrPermission,
		ports.ErrTooLarge, ports.ErrClosed, ports.ErrSessionGone, ports.ErrContention,
	}
	return slices.DeleteFunc(all, func(kind error) bool { return !errors.Is(err, kind) })
}

// random is a source of choices that the seed repeats; each goroutine takes one of its own.
func (s *scene) random(stream int) *mathrand.Rand {
	return mathrand.New(mathrand.NewPCG(s.seed, uint64(stream))) //nolint:gosec // choices of a test, to be repeated
}

// counter is a T that counts what cases choose at random.
type counter interface{ made(r Random) }

// made reports what the case chose at random, in the log too.
func (s *scene) made(r Random) {
	s.Helper()
	s.Logf("%s, seed %d", r, s.seed)
	if c, ok := s.T.(counter); ok {
		c.made(r)
	}
}

// pause lets time pass, where the contract is about time.
func (s *scene) pause(d time.Duration) {
	s.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
		s.must(false, "the case ends in time", s.ctx.Err())
	}
}

// shortTTL is the TTL of the cases that wait for the end of a session.
func (s *scene) shortTTL() time.Duration { return max(2*time.Second, s.info.Limits.MinSessionTTL) }

func newSessionID() ports.SessionID { return ports.SessionID("s-" + rand.Text()) }

// session opens a session through b; it is closed with the case.
func (s *scene) session(b ports.Backend, ttl time.Duration) ports.Session {
	s.Helper()
	sess, _, err := openNew(s.ctx, b, ttl)
	s.must(err == nil, "a session is opened", err)
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), waitLimit)
		defer cancel()
		_ = b.CloseSession(ctx, sess.ID) // tidying up; the case may have closed the backend or broken the store
	})
	return sess
}

// openNew opens a session under an id of its own, and tells since when its TTL may count. One whose TTL
// has passed before it was opened, on a machine that is busy, says nothing of the backend: another is.
func openNew(ctx context.Context, b ports.Backend, ttl time.Duration) (sess ports.Session, since time.Time, err error) {
	for range 5 {
		since = time.Now()
		sess, err = b.OpenSession(ctx, sessionSpec(newSessionID(), ttl))
		if !errors.Is(err, ports.ErrSessionGone) || time.Since(since) < ttl {
			break
		}
	}
	return sess, since, err
}

func sessionSpec(id ports.SessionID, ttl time.Duration) ports.SessionSpec {
	return ports.SessionSpec{
		ID: id, TTL: ttl, Host: "conformance.example", Program: "prism-conformance",
		OldestFormat: core.BodyFormat, NewestFormat: core.BodyFormat,
	}
}

func key(service, id string) core.Key { return core.Key{Service: service, ID: id} }

// record is a record of a first generation as a host would write it.
func record(k core.Key, session ports.SessionID) ports.Record {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return ports.Record{
		Key: k, Generation: core.Generation{}.Next(), Session: session,
		Owner: "owner-" + k.ID, LeaseHash: strings.Repeat("5e", 32),
		State:        core.State{Declared: core.DeclaredUp, Observed: core.ObservedUnknown, Actor: "owner", ChangedAt: now},
		Body:         []byte(fmt.Sprintf(`{"v":1,"host":"10.0.0.1","port":8080,"weight":100,"metadata":{"of":%q}}`, k.String())),
		RegisteredAt: now, UpdatedAt: now,
	}
}

// apply carries mutations out through b and returns a result for each. What answers
// ErrContention was not done and is tried again, as the contract asks of callers.
func (s *scene) apply(b ports.Backend, muts ...ports.Mutation) []ports.MutationResult {
	s.Helper()
	results, err := applyAll(s.ctx, b, muts)
	s.must(err == nil, fmt.Sprintf("Apply of %d items answers with %d results", len(muts), len(muts)), err)
	return results
}

// applyAll is apply for goroutines.
func applyAll(ctx context.Context, b ports.Backend, muts []ports.Mutation) ([]ports.MutationResult, error) {
	results := make([]ports.MutationResult, len(muts))
	left := make([]int, len(muts)) // the items to be done, by their place
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		batch := make([]ports.Mutation, len(left))
		for i, place := range left {
			batch[i] = muts[place]
		}
		got, err := b.Apply(ctx, batch)
		if err != nil {
			return nil, err
		}
		if len(got) != len(batch) {
			return nil, fmt.Errorf("%d results for %d items", len(got), len(batch))
		}
		var again []int
		for i, place := range left {
			results[place] = got[i]
			if errors.Is(got[i].Err, ports.ErrContention) {
				again = append(again, place)
			}
		}
		left = again
	}
	return results, nil
}

// one carries out one mutation.
func (s *scene) one(b ports.Backend, m ports.Mutation) ports.MutationResult {
	s.Helper()
	return s.apply(b, m)[0]
}

// done carries out one mutation, which must succeed, and returns its record.
func (s *scene) done(b ports.Backend, m ports.Mutation) *ports.Record {
	s.Helper()
	res := s.one(b, m)
	s.must(res.Err == nil && res.Record != nil, fmt.Sprintf("%s succeeds and answers with the record", describe(m)), res)
	return res.Record
}

// doneAll carries out any number of mutations, all of which must succeed.
func (s *scene) doneAll(b ports.Backend, muts []ports.Mutation) []*ports.Record {
	s.Helper()
	var recs []*ports.Record
	for batch := range batches(muts) {
		for i, res := range s.apply(b, batch...) {
			s.must(res.Err == nil && res.Record != nil, fmt.Sprintf("%s succeeds and answers with the record", describe(batch[i])), res)
			recs = append(recs, res.Record)
		}
	}
	return recs
}

// batches cuts mutations into calls that every backend takes.
func batches(muts []ports.Mutation) func(yield func([]ports.Mutation) bool) {
	return func(yield func([]ports.Mutation) bool) {
		from, size := 0, 0
		for i, m := range muts {
			body := 0
			if m.Put != nil {
				body = len(m.Put.Record.Body)
			}
			if i-from == ports.MaxBatch || size+body > ports.MaxBatchBytes {
				if !yield(muts[from:i]) {
					return
				}
				from, size = i, 0
			}
			size += body
		}
		if from < len(muts) {
			yield(muts[from:])
		}
	}
}

// create stores a record at a key that is free.
func (s *scene) create(b ports.Backend, rec ports.Record) *ports.Record {
	s.Helper()
	return s.done(b, put(rec))
}

// refused carries out one mutation, which must fail with a sentinel, and returns the result.
func (s *scene) refused(b ports.Backend, m ports.Mutation, sentinel error) ports.MutationResult {
	s.Helper()
	res := s.one(b, m)
	s.mustBe(res.Err, sentinel, describe(m))
	return res
}

func put(rec ports.Record) ports.Mutation { return ports.Mutation{Put: &ports.Put{Record: rec}} }

func replace(rec ports.Record, old core.Generation) ports.Mutation {
	return ports.Mutation{Put: &ports.Put{Record: rec, Replaces: old}}
}

func setState(c ports.SetState) ports.Mutation { return ports.Mutation{SetState: &c} }

func remove(d ports.Delete) ports.Mutation { return ports.Mutation{Delete: &d} }

// removal is the deletion of a record by its owner.
func removal(rec *ports.Record) ports.Delete {
	return ports.Delete{Key: rec.Key, Generation: rec.Generation, Cause: core.CauseDeregistered, Actor: "owner", Reason: "leaving"}
}

// get reads keys and returns an answer for each.
func (s *scene) get(b ports.Backend, keys ...core.Key) []ports.Found {
	s.Helper()
	found, err := b.Get(s.ctx, keys)
	s.must(err == nil && len(found) == len(keys), fmt.Sprintf("Get of %d keys gives %d answers", len(keys), len(keys)), len(found), err)
	for i, f := range found {
		s.must(f.Record == nil || f.Tombstone == nil, fmt.Sprintf("Get of %s gives a record, a tombstone or neither", keys[i]), f)
	}
	return found
}

// stands asks that exactly this record is stored, revision included.
func (s *scene) stands(b ports.Backend, want *ports.Record) {
	s.Helper()
	found := s.get(b, want.Key)[0]
	s.must(found.Record != nil, fmt.Sprintf("%s is stored", show(want)), found)
	s.mustEqual(found.Record, want, "Get of "+want.Key.String())
}

// mustEqual asks that two records are the same in every field.
func (s *scene) mustEqual(came, want *ports.Record, what string) {
	s.Helper()
	s.must(came != nil, what+" gives a record", came)
	if diff := difference(came, want); diff != "" {
		s.must(false, what+" gives "+show(want), show(came), "differing in "+diff)
	}
}

// gone asks that nothing is stored, and returns the tombstone, nil for none.
func (s *scene) gone(b ports.Backend, k core.Key) *ports.Tombstone {
	s.Helper()
	found := s.get(b, k)[0]
	s.must(found.Record == nil, k.String()+" is not stored", found)
	return found.Tombstone
}
