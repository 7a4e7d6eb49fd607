package conformance

// cases_outage.go: what must be true of sessions, records and streams once a store is back.

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var outageCases = []scenario{
	longOutage(FaultStop, "stopped"),
	longOutage(FaultPause, "hanging"),
	longOutage(FaultCut, "cut off"),
	{
		id:          "outage/remembers-stop",
		requirement: "A store that was stopped and kept its data also kept its tombstones and the ids of sessions that ended: what was refused is refused.",
		needs:       []Fault{FaultStop},
		run: func(s *scene) {
			rec := s.create(s.host, record(key("svc", "stays"), s.session(s.host, longTTL).ID))
			over := s.endings(s.host)
			s.inflict(FaultStop)
			s.mend()
			if s.keptOrLost(rec, FaultStop) {
				s.stayOver(s.second(), over)
			}
		},
	},
	writesThrough(FaultStop, "is stopped and comes back"),
	writesThrough(FaultPause, "hangs for a while"),
	writesThrough(FaultCut, "is cut off for a while"),
	writesThrough(FaultLeader, "loses its leader, and goes on without that server (one without leaders: is stopped and comes back)"),
	{
		id: "outage/expiry-leader",
		requirement: "When a store loses its leader (one without leaders: is stopped and comes back), no session ends early, and each that nobody renews ends within one more TTL of the return, " +
			"while the server that led stays away; the others go on.",
		needs: []Fault{FaultLeader},
		run:   expiryWithoutLeader,
	},
	{
		id: "outage/two-ttls-wipe",
		requirement: "A store that was stopped for twice a session's TTL and returns without data is a Reset with a new epoch, too: " +
			"no session is renewed, no record is there, and new ones can be made.",
		needs: []Fault{FaultStop, FaultWipe},
		run: func(s *scene) {
			s.losesAll(func() {
				s.inflict(FaultStop)
				s.pause(2 * s.shortTTL())
				s.inflict(FaultWipe)
			})
		},
	},
}

// longOutage keeps a store away for twice the TTL of a session.
func longOutage(f Fault, how string) scenario {
	return scenario{
		id: "outage/two-ttls-" + string(f),
		requirement: fmt.Sprintf("After a store was %s for twice a session's TTL, Get, list, watch and renewal agree on whether the session ended; "+
			"one that is open still ends within one more TTL, and none whose TTL has not passed has ended.", how),
		needs: []Fault{f},
		run: func(s *scene) {
			st := s.follow(s.second())
			ttl := s.shortTTL()
			lasting := s.session(s.host, longTTL)
			stays := s.create(s.host, record(key("svc", "stays"), lasting.ID))
			var lapses *ports.Record
			s.unlessTooBusy(func() bool {
				fl := s.fleeting(key("svc", "lapses"))
				if fl.over() {
					return false
				}
				lapses, ttl = fl.records[0], fl.ttl
				return true
			})
			s.inflict(f)
			s.pause(2 * ttl)
			s.mend()
			back := time.Now()

			kept := s.keptOrLost(stays, f)
			if !kept {
				lasting = s.session(s.host, longTTL)
			}
			last := s.create(s.host, record(key("svc", "last"), lasting.ID))
			limit := ttl + s.info.Limits.MaxExpiryDelay + graceAfterExpiry
			for { // the store may grant one more TTL; until then all must say the same
				found := s.get(s.host, lapses.Key)[0]
				listed := s.list(s.second(), lapses.Key.Service).records[lapses.Key]
				again := s.get(s.host, lapses.Key)[0]
				if (found.Record == nil) == (again.Record == nil) { // it did not go in between
					s.must((listed == nil) == (found.Record == nil), "Get and a list agree on "+lapses.Key.String(), found, listed)
				}
				if again.Record == nil {
					if kept && again.Tombstone != nil {
						cause := again.Tombstone.Cause
						s.must(cause.Expires(), `the cause "expired", or "unknown" where it fell into a gap`, again)
					}
					break
				}
				s.must(time.Since(back) <= limit, fmt.Sprintf("the session ends within %s of the store's return", limit), again)
				s.pause(20 * time.Millisecond)
			}
			s.must(s.renew(s.host, lapses.Session), "the session whose records went is gone", "it was renewed")
			st = s.outlives(st, s.create(s.host, record(key("svc", "fence"), lasting.ID)).Revision)
			st.agrees(s.host, stays.Key, lapses.Key, last.Key)
		},
	}
}

// writesThrough writes without pause while the store goes and comes back.
func writesThrough(f Fault, how string) scenario {
	return scenario{
		id: "outage/writes-" + string(f),
		requirement: fmt.Sprintf("While a store %s, writes are acknowledged or not; what was acknowledged is there afterwards%s, "+
			"and a watch goes on without a silent gap, or ends with ErrUnavailable and is resumed with its last cursor.", how, lossAllowed(f)),
		needs: []Fault{f},
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			first := s.create(s.host, record(key("svc", "first"), sess.ID))
			goes := s.create(s.host, record(key("svc", "goes"), sess.ID))
			st := s.follow(s.second())
			w := &writer{s: s, session: sess.ID}
			var writing sync.WaitGroup
			ctx, stop := context.WithCancel(s.ctx)
			defer writing.Wait()
			defer stop()
			writing.Go(func() { w.write(ctx) })

			w.until(s, 20)
			s.inflict(f)
			keys := []core.Key{first.Key, goes.Key}
			elected := f == FaultLeader && s.info.Capabilities.Replicated
			if elected {
				s.recovers() // by itself, with the servers that are left
			} else {
				s.pause(time.Second)
				s.mend()
			}
			kept := s.keptOrLost(first, f)
			if !kept {
				w.enter(s.session(s.host, longTTL).ID)
			}
			w.until(s, w.count()+20)
			if elected {
				without := s.create(s.host, record(key("svc", "without"), w.under()))
				s.stands(s.host, without)
				st = s.outlives(st, without.Revision)
				keys = append(keys, without.Key)
				s.mend()
				w.until(s, w.count()+20)
			}
			stop()
			writing.Wait()

			if kept {
				s.done(s.host, remove(removal(goes)))
			}
			fence := s.create(s.host, record(key("svc", "fence"), w.under()))
			st = s.outlives(st, fence.Revision)
			keys = append(keys, fence.Key)
			lost := 0
			for _, rec := range w.records {
				found := s.get(s.host, rec.Key)[0]
				if found.Record == nil && !kept && rec.Revision.Epoch != fence.Revision.Epoch {
					lost++
					continue
				}
				s.mustEqual(found.Record, rec, "after all, Get of "+rec.Key.String())
				keys = append(keys, rec.Key)
			}
			st.agrees(s.host, keys...)
			s.must(!kept || s.list(s.host).records[first.Key] != nil, "the first record in a list", nil)
			s.Logf("%d writes were acknowledged, %d not; %d were lost with an earlier epoch", len(w.records), w.failed, lost)
		},
	}
}

// writer creates one record after another, in a goroutine of its own.
type writer struct {
	s *scene

	mu      sync.Mutex // guards the rest
	session ports.SessionID
	records []*ports.Record // acknowledged
	failed  int
}

func (w *writer) write(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		call, cancel := context.WithTimeout(ctx, time.Second)
		results, err := w.s.host.Apply(call, []ports.Mutation{put(record(key("written", fmt.Sprintf("id-%d", i)), w.under()))})
		cancel()
		w.mu.Lock()
		if err == nil && results[0].Err == nil {
			w.records = append(w.records, results[0].Record)
		} else {
			w.failed++
		}
		w.mu.Unlock()
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.records)
}

func (w *writer) under() ports.SessionID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.session
}

func (w *writer) enter(session ports.SessionID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.session = session
}

// until waits for so many acknowledged writes.
func (w *writer) until(s *scene, n int) {
	s.Helper()
	for deadline := time.Now().Add(mendLimit); w.count() < n; s.pause(10 * time.Millisecond) {
		s.must(time.Now().Before(deadline), fmt.Sprintf("%d acknowledged writes within %s", n, mendLimit), w.count())
	}
}
