package conformance

// cases_ownership.go: who owns a record. Owners of the past are fenced off; and where everybody
// writes and reads a few keys at once, what came must have an order in which each call did what
// the reference model says (linearizability, found by porcupine).

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var ownershipCases = []scenario{
	{
		id:          "put/fencing",
		requirement: "After a take-over or an adoption nothing that the earlier owner sends changes the record, be it a write by generation, by session or by revision.",
		run: func(s *scene) {
			a, b := s.session(s.host, longTTL), s.session(s.second(), longTTL)
			old := s.create(s.host, record(key("svc", "taken"), a.ID))
			next := record(old.Key, b.ID)
			next.Generation = old.Generation.Next()
			taken := s.done(s.second(), replace(next, old.Generation))
			lost := s.create(s.host, record(key("svc", "adopted"), a.ID))
			moved := *lost
			moved.Session = b.ID
			adopted := s.done(s.second(), replace(moved, lost.Generation))
			observed := &ports.ObservedState{Observed: core.ObservedUnhealthy, Streak: -9}
			guardedUpdate := replace(*lost, lost.Generation)
			guardedUpdate.Put.IfRevision = lost.Revision
			for _, m := range []ports.Mutation{
				replace(*old, old.Generation), put(*old),
				setState(ports.SetState{Key: old.Key, Generation: old.Generation, Observed: observed}), remove(removal(old)),
				guardedUpdate, put(*lost),
				setState(ports.SetState{Key: lost.Key, Generation: lost.Generation, Session: a.ID, Observed: observed}),
				remove(ports.Delete{Key: lost.Key, Generation: lost.Generation, Session: a.ID, Cause: core.CauseExpired}),
				remove(ports.Delete{Key: lost.Key, Generation: lost.Generation, IfRevision: lost.Revision, Cause: core.CauseExpired}),
			} {
				current := taken
				if m.Key() == lost.Key {
					current = adopted
				}
				s.mustEqual(s.refused(s.host, m, ports.ErrConflict).Record, current, "the conflict")
			}
			s.must(s.host.CloseSession(s.ctx, a.ID) == nil, "the session closes", nil)
			s.stands(s.host, taken)
			s.stands(s.host, adopted)
		},
	},
	{
		id:          "load/ownership",
		requirement: "Reads and writes of one key are linearizable: there is an order in which each did what the contract says. All streams and all readers agree in the end.",
		run:         linearOwnership,
	},
}

// answered is one call on one key, with its answer: a Get where the mutation is empty.
type answered struct {
	key       core.Key
	mutation  ports.Mutation
	result    ports.MutationResult
	found     ports.Found
	isWrite   bool
	call, end time.Duration // since the start of the case
}

func linearOwnership(s *scene) {
	hosts := []ports.Backend{s.host, s.second()}
	const writers, rounds = 8, 60
	sessions := make([]ports.SessionID, writers)
	for w := range sessions {
		sessions[w] = s.session(hosts[w%2], longTTL).ID
	}
	all := []core.Key{key("svc", "a"), key("svc", "b"), key("other", "a")}
	st := s.follow(s.second())
	calls, errs, random := make([][]answered, writers), make([]error, writers), make([]*rand.Rand, writers)
	for w := range random {
		random[w] = s.random(w)
	}
	began := time.Now()
	ctx, cancel := context.WithCancel(s.ctx)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for range rounds {
			// All look before anybody writes, so that most of what they know is outdated.
			plans := make([]ports.Mutation, writers)
			together(writers, func(w int) {
				look := answered{key: all[random[w].IntN(len(all))], call: time.Since(began)}
				found, err := hosts[w%2].Get(ctx, []core.Key{look.key})
				look.end = time.Since(began)
				if errs[w] = err; err == nil {
					look.found = found[0]
					calls[w] = append(calls[w], look)
					plans[w] = plan(random[w], look.key, look.found, sessions[w])
				}
			})
			if errors.Join(errs...) != nil {
				return
			}
			together(writers, func(w int) {
				write := answered{key: plans[w].Key(), mutation: plans[w], isWrite: true, call: time.Since(began)}
				results, err := applyAll(ctx, hosts[(w+1)%2], []ports.Mutation{plans[w]})
				write.end = time.Since(began)
				if errs[w] = err; err == nil {
					write.result = results[0]
					calls[w] = append(calls[w], write)
				}
			})
			if errors.Join(errs...) != nil {
				return
			}
		}
	}()
	defer func() { <-finished }()
	defer cancel()
	for reading := true; reading; {
		select {
		case <-finished:
			reading = false
		default:
			st.next("a change or a Bookmark", waitLimit)
		}
	}
	s.must(errors.Join(errs...) == nil, "every call is answered", errors.Join(errs...))
	st.fence(s.host)
	st.agrees(s.host, all...)
	st.agrees(s.second(), all...)
	made := Random{Sequences: writers}
	for _, of := range calls {
		made.Operations += len(of)
	}
	s.made(made)
	for i, found := range s.get(s.host, all...) { // what is there in the end belongs to the history
		calls[0] = append(calls[0], answered{key: all[i], found: found, call: time.Since(began), end: time.Since(began)})
	}
	s.linearizable(calls)
}

// linearizable asks that the calls of all clients have an order.
func (s *scene) linearizable(calls [][]answered) {
	s.Helper()
	byKey := make(map[core.Key][]porcupine.Operation)
	for client, of := range calls {
		for _, c := range of {
			byKey[c.key] = append(byKey[c.key], porcupine.Operation{ClientId: client, Input: c, Output: c, Call: int64(c.call), Return: int64(c.end)})
		}
	}
	model := porcupine.Model{
		Init: func() any { return place{} },
		Step: func(state, input, _ any) (bool, any) { return step(state.(place), input.(answered)) }, //nolint:errcheck // nothing else is put in
		Equal: func(a, b any) bool {
			p, q := a.(place), b.(place) //nolint:errcheck // nothing else is put in
			return p.revision() == q.revision() && (p.record == nil) == (q.record == nil)
		},
	}
	for k, history := range byKey {
		const limit = 2 * time.Minute // to look for an order; most are found in milliseconds
		switch porcupine.CheckOperationsTimeout(model, history, limit) {
		case porcupine.Ok:
		case porcupine.Unknown:
			s.must(false, fmt.Sprintf("an order of the %d calls on %s is found or ruled out within %s", len(history), k, limit), "neither", tell(history))
		case porcupine.Illegal:
			s.must(false, fmt.Sprintf("an order of the %d calls on %s in which each does what the contract says of it", len(history), k), tell(history))
		}
	}
}

// step tells whether a call can have happened where a key held state, and what was there then.
func step(state place, c answered) (possible bool, next any) {
	if !c.isWrite {
		return state.differs(c.found) == "", state
	}
	after, refusal := state.foresee(c.mutation, true)
	if c.result.Err != nil || refusal != nil {
		return refusal != nil && errors.Is(c.result.Err, refusal), state
	}
	came := c.result.Record
	if came == nil {
		return false, state
	}
	if after == state { // a retry
		return difference(came, state.record) == "", state
	}
	if before := state.revision(); !before.IsZero() && (before.Epoch != came.Revision.Epoch || before.N >= came.Revision.N) {
		return false, state
	}
	after = after.settled(came.Revision)
	return after.record == nil || difference(came, after.record) == "", after
}

// tell puts the first calls of a history into words.
func tell(history []porcupine.Operation) string {
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var words []string
	for _, op := range history[:min(len(history), 40)] {
		c := op.Input.(answered) //nolint:errcheck // nothing else is put in
		what, answer := "Get", show(c.found)
		if c.isWrite {
			what, answer = describe(c.mutation), show(c.result)
		}
		words = append(words, fmt.Sprintf("\n  %s–%s client %d: %s → %s", c.call, c.end, op.ClientId, what, answer))
	}
	return fmt.Sprintf("none; the history begins with%s", strings.Join(words, ""))
}

func together(n int, do func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { do(i) })
	}
	group.Wait()
}

// plan chooses something that fits what was found.
func plan(random *rand.Rand, k core.Key, found ports.Found, session ports.SessionID) ports.Mutation {
	rec := record(k, session)
	current := found.Record
	if current == nil {
		if t := found.Tombstone; t != nil {
			rec.Generation = t.Generation.Next()
		}
		return put(rec)
	}
	switch random.IntN(4) {
	case 0:
		rec.Generation = current.Generation.Next()
		return replace(rec, current.Generation)
	case 1: // an update, or an adoption
		rec.Generation = current.Generation
		m := replace(rec, current.Generation)
		m.Put.IfRevision = current.Revision
		return m
	case 2:
		return setState(ports.SetState{Key: k, Generation: current.Generation, Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 1}})
	default:
		return remove(ports.Delete{Key: k, Generation: current.Generation, Cause: core.CauseDeregistered, Actor: "owner"})
	}
}
