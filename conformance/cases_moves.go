package conformance

// cases_moves.go: writes that race with the end of a session: of its records some are adopted,
// some taken over, some changed, and others join them.

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var moveCases = []scenario{
	{
		id: "session/close-against-moves",
		requirement: "Where a record is adopted, taken over or changed while its session is closed, one of the two comes first: it stands under its new session, or it is gone and whoever comes later is refused. " +
			"A Put under the session that is accepted meanwhile is gone within MaxExpiryDelay.",
		run: movesAgainstClose,
	},
	{
		id: "expiry/against-moves",
		requirement: "Where a record is adopted, taken over or changed while its session runs out, one of the two comes first: it stands under its new session, or it is gone and whoever comes later is refused. " +
			"A Put under the session that is accepted meanwhile is gone within MaxExpiryDelay.",
		run: movesAgainstExpiry,
	},
}

// move is a write that races with the end of a session.
type move struct {
	mutation ports.Mutation
	before   *ports.Record // what it changes; nil for a creation
	refusal  error         // what it gives when it comes too late
	after    time.Duration // when it is sent, since the beginning of the race
	result   ports.MutationResult
	err      error
	answered time.Time
}

// movesAgainstClose closes one session after another in the midst of writes. Where all of them
// came before the end, or all after it, the next race takes longer.
func movesAgainstClose(s *scene) {
	const least, most = 12, 60
	st := s.follow(s.second())
	stays := s.session(s.second(), longTTL).ID
	random := s.random(0)
	spread := 5 * time.Millisecond
	accepted, refused := 0, 0
	var keys []core.Key
	for round := 0; round < least || accepted == 0 || refused == 0; round++ {
		s.must(round < most, fmt.Sprintf("writes before the end of a session and after it in %d races", most), fmt.Sprintf("%d before, %d after", accepted, refused))
		ends := s.session(s.host, longTTL).ID
		leaving, staying := make([]ports.Mutation, 12), make([]ports.Mutation, 4)
		for i := range leaving {
			leaving[i] = put(record(key("svc", fmt.Sprintf("id-%d-%d", round, i)), ends))
		}
		for i := range staying {
			staying[i] = put(record(key("other", fmt.Sprintf("id-%d-%d", round, i)), stays))
		}
		moves := movesOf(s.doneAll(s.host, leaving), s.doneAll(s.second(), staying), ends, stays)
		for _, m := range moves {
			m.after = part(random, spread)
			keys = append(keys, m.mutation.Key())
		}
		var err error
		var began time.Time
		s.race(moves, part(random, spread), func() {
			began = time.Now()
			err = s.host.CloseSession(s.ctx, ends)
		})
		s.must(err == nil, "the session closes", err)
		early, late := s.settled(st, moves, stays, began, core.CauseDeregistered)
		if early == 0 || late == 0 {
			spread *= 2
		} else {
			spread = max(spread*3/4, time.Millisecond)
		}
		accepted, refused = accepted+early, refused+late
	}
	st.fence(s.host)
	st.agrees(s.host, keys...)
	s.Logf("%d writes came before the end of a session, %d after it", accepted, refused)
}

// movesAgainstExpiry writes from before a session runs out until it must have, and longer where it
// has not: a machine that is busy is late.
func movesAgainstExpiry(s *scene) {
	const before = 50 * time.Millisecond // the first write, before the end
	st := s.follow(s.second())
	stays := s.session(s.second(), longTTL).ID
	random := s.random(0)
	var keys []core.Key
	early, late := 0, 0
	for attempt := 0; attempt < 3 && late == 0; attempt++ {
		var leaving []core.Key
		var staying []ports.Mutation
		for i := range 120 {
			leaving = append(leaving, key("svc", fmt.Sprintf("id-%d", i)))
			if i%3 == 0 {
				staying = append(staying, put(record(key("other", fmt.Sprintf("id-%d-%d", attempt, i)), stays)))
			}
		}
		moved := s.doneAll(s.second(), staying)
		f := s.fleeting(leaving...)
		moves := movesOf(f.records, moved, f.records[0].Session, stays)
		until := f.renewed.Add(f.ttl)
		for _, m := range moves {
			m.after = time.Until(until) - before + part(random, before+s.info.Limits.MaxExpiryDelay<<attempt)
			keys = append(keys, m.mutation.Key())
		}
		s.race(moves, 0, func() {})
		first, second := s.settled(st, moves, stays, until, core.CauseExpired)
		early, late = early+first, late+second
	}
	st.fence(s.host)
	st.agrees(s.host, keys...)
	s.Logf("%d writes came before the end of a session, %d after it", early, late)
}

// part is a random part of a time.
func part(random *rand.Rand, of time.Duration) time.Duration {
	return time.Duration(random.Float64() * float64(of))
}

// movesOf makes writes of the records of a session that ends, and of others under it.
func movesOf(leaving, staying []*ports.Record, ends, stays ports.SessionID) []*move {
	var moves []*move
	for i, rec := range leaving {
		m := &move{before: rec, refusal: ports.ErrConflict}
		switch i % 3 {
		case 0: // an adoption
			next := *rec
			next.Session = stays
			m.mutation = replace(next, rec.Generation)
		case 1: // a take-over
			next := record(rec.Key, stays)
			next.Generation = rec.Generation.Next()
			m.mutation = replace(next, rec.Generation)
		default:
			m.refusal = ports.ErrNotFound
			m.mutation = setState(ports.SetState{
				Key: rec.Key, Generation: rec.Generation, At: rec.UpdatedAt,
				Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 1},
			})
		}
		moves = append(moves, m)
	}
	for _, rec := range staying {
		next := *rec
		next.Session = ends
		moves = append(moves,
			&move{before: rec, refusal: ports.ErrSessionGone, mutation: replace(next, rec.Generation)},
			&move{refusal: ports.ErrSessionGone, mutation: put(record(key("new", rec.Key.ID), ends))})
	}
	return moves
}

// race sends the writes, each at its time and through one of the hosts, and does something else
// meanwhile.
func (s *scene) race(moves []*move, after time.Duration, do func()) {
	hosts := []ports.Backend{s.host, s.second()}
	began := time.Now()
	wait := func(after time.Duration) {
		timer := time.NewTimer(time.Until(began.Add(after)))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.ctx.Done():
		}
	}
	together(len(moves)+1, func(i int) {
		if i == len(moves) {
			wait(after)
			do()
			return
		}
		m := moves[i]
		wait(m.after)
		var results []ports.MutationResult
		if results, m.err = applyAll(s.ctx, hosts[i/3%2], []ports.Mutation{m.mutation}); m.err == nil {
			m.result = results[0]
		}
		m.answered = time.Now()
	})
}

// settled asks that what was accepted, or refused, is so, where a session ended after a time
// and for a cause. It counts the moves of the session's records that came early and too late.
func (s *scene) settled(st *stream, moves []*move, stays ports.SessionID, from time.Time, cause core.Cause) (early, late int) {
	s.Helper()
	over := time.Now()
	if from.After(over) {
		over = from
	}
	for _, m := range moves {
		what, res := describe(m.mutation), m.result
		s.must(m.err == nil, what+" is answered", m.err)
		if res.Err != nil {
			s.mustBe(res.Err, m.refusal, what+" that comes after the end of the session")
			s.must(!m.answered.Before(from), what+" is done before the session ends", res)
			continue
		}
		s.must(res.Record != nil, what+" answers with the record", res)
		if res.Record.Session != stays && (m.mutation.Put != nil || cause == core.CauseExpired) {
			s.lapsed(st, res.Record, over, 0)
		}
	}
	for _, m := range moves {
		what, res, k := describe(m.mutation), m.result, m.mutation.Key()
		if m.before != nil && m.before.Session != stays && m.mutation.Put != nil {
			if res.Err == nil {
				early++
			} else {
				late++
			}
		}
		switch {
		case res.Err == nil && res.Record.Session == stays:
			s.stands(s.second(), res.Record)
		case res.Err == nil:
			tomb := s.gone(s.second(), k)
			s.must(tomb != nil && tomb.Generation == res.Record.Generation && tomb.Session == res.Record.Session, "the tombstone of "+show(res.Record), tomb)
		case m.before == nil:
			s.must(s.gone(s.second(), k) == nil, "no trace of "+what, nil)
		case m.before.Session == stays:
			s.stands(s.second(), m.before)
		default:
			s.ended(s.gone(s.second(), k), m.before, cause)
		}
	}
	return early, late
}
