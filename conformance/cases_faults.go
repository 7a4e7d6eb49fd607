package conformance

// cases_faults.go: stores that stop, hang, are cut off, or lose their data. The harness
// breaks them (Faults).

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// mendLimit is how long a backend may take to notice that its store is back.
const mendLimit = time.Minute

var faultCases = []scenario{
	awayCase(FaultStop, "stopped"),
	awayCase(FaultPause, "hanging"),
	awayCase(FaultCut, "cut off"),
	{
		id:          "faults/wipe",
		requirement: "The loss of the store's data is a Reset with a new epoch: its sessions are gone, its records too, and new ones can be made.",
		needs:       []Fault{FaultWipe},
		run:         func(s *scene) { s.losesAll(func() { s.inflict(FaultWipe) }) },
	},
}

// losesAll asks how a backend takes what ends with the store's return without any data.
func (s *scene) losesAll(lose func()) {
	s.Helper()
	sess := s.session(s.host, longTTL)
	rec := s.create(s.host, record(key("svc", "a"), sess.ID))
	short := s.fleeting(key("svc", "short"))
	st := s.follow(s.host)
	old := st.cursor.Epoch
	lose()
	s.mend()
	for _, rec := range []*ports.Record{rec, short.records[0]} {
		s.must(s.renew(s.host, rec.Session), "the session is gone", "it was renewed")
		s.gone(s.host, rec.Key)
	}
	again := *rec
	again.Session = s.session(s.host, longTTL).ID
	stored := s.create(s.host, again)
	s.must(stored.Revision.Epoch != old, "an epoch other than "+old, stored)
	st = s.outlives(st, stored.Revision)
	s.must(len(st.records) == 1, "one record", st.events)
	s.mustEqual(st.records[stored.Key], stored, "the stream")
}

// awayCase asks how a backend takes the absence of its store, and its return.
func awayCase(f Fault, how string) scenario {
	return scenario{
		id:          "faults/" + string(f),
		requirement: fmt.Sprintf("While the store is %s, every call returns when its context ends, with the context's error or ErrUnavailable, and no watch gives a proof; when it is back, the backend serves without being opened anew, and acknowledged records are there%s.", how, lossAllowed(f)),
		needs:       []Fault{f},
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			st := s.follow(s.second())
			seen := s.attend(st)
			s.inflict(f)
			away := time.Now()
			const patience = 3 * time.Second
			ctx, cancel := context.WithTimeout(s.ctx, patience)
			defer cancel()
			type answer struct {
				what string
				err  error
			}
			calls := everyCall(s.host, rec)
			answers := make(chan answer, len(calls))
			for what, call := range calls {
				go func() { answers <- answer{what, call(ctx)} }()
			}
			late := time.After(patience + graceAfterExpiry)
			for range calls {
				select {
				case a := <-answers:
					s.must(a.err != nil && isEnd(a.err, context.DeadlineExceeded), a.what+" gives ErrUnavailable, or the context's error", a.err)
				case <-late:
					s.must(false, fmt.Sprintf("every call returns once its context of %s has ended", patience), "some are still blocked")
				}
			}
			from := away.Add(underway)
			s.pause(time.Until(from.Add(ports.MaxBookmarkGap + time.Second)))
			proofs := seen.proofs(from)
			s.must(len(proofs) == 0, fmt.Sprintf("no proof from %s after the store went until it is back", underway), proofs)

			s.mend()
			kept := s.keptOrLost(rec, f)
			if !kept {
				sess = s.session(s.host, longTTL)
			}
			last := s.create(s.host, record(key("svc", "b"), sess.ID))
			s.must(kept || last.Revision.Epoch != rec.Revision.Epoch, "another epoch, as the records are lost", rec, last)
			st = s.outlives(st, last.Revision)
			s.mustEqual(st.records[last.Key], last, "the stream")
			s.must((st.records[rec.Key] != nil) == kept, "the stream has the first record only if it was kept", st.events)
		},
	}
}

// lossAllowed is what else may come of a fault, as keptOrLost asks.
func lossAllowed(f Fault) string {
	if f == FaultStop || f == FaultLeader {
		return " (without the capability Durable all may be lost, as Reset and epoch then show)"
	}
	return ""
}

// underway is how long a proof may be on its way from the store to its reader.
const underway = 2 * time.Second

// attended is a Watcher that is read all the time.
type attended struct {
	ports.Watcher

	came chan arrival
	at   time.Time // when that came which Next gave last
	mu   sync.Mutex
	all  []arrival // guarded by mu
}

type arrival struct {
	at  time.Time
	ev  ports.WatchEvent
	err error
}

// attend has a stream read by a goroutine of its own, until the stream or the case ends.
func (s *scene) attend(st *stream) *attended {
	a := &attended{Watcher: st.watcher, came: make(chan arrival, 1024)}
	st.watcher = a
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			ev, err := a.Watcher.Next(s.ctx)
			came := arrival{time.Now(), ev, err}
			a.mu.Lock()
			a.all = append(a.all, came)
			a.mu.Unlock()
			select {
			case a.came <- came:
			case <-s.ctx.Done():
			}
			if err != nil {
				return
			}
		}
	})
	s.Cleanup(func() {
		_ = a.Close() // nothing is left to be learnt from it
		reading.Wait()
	})
	return a
}

// Next implements ports.Watcher.
func (a *attended) Next(ctx context.Context) (ports.WatchEvent, error) {
	select {
	case came := <-a.came:
		a.at = came.at
		return came.ev, came.err
	case <-ctx.Done():
		return ports.WatchEvent{}, ctx.Err()
	}
}

// proofs are those that have come since a time.
func (a *attended) proofs(since time.Time) []ports.WatchEvent {
	a.mu.Lock()
	defer a.mu.Unlock()
	var proofs []ports.WatchEvent
	for _, came := range a.all {
		if came.at.After(since) && (came.ev.Kind == ports.WatchBookmark || came.ev.Kind == ports.WatchSynced) {
			proofs = append(proofs, came.ev)
		}
	}
	return proofs
}

// keptOrLost asks that a record and its session, neither of which has ended, came through an
// outage, or that a store which was stopped, and does not claim to keep its data then, has lost
// all of it.
func (s *scene) keptOrLost(rec *ports.Record, f Fault) (kept bool) {
	s.Helper()
	found, gone := s.get(s.host, rec.Key)[0], s.renew(s.host, rec.Session)
	if lossAllowed(f) != "" && !s.info.Capabilities.Durable && gone && found.Record == nil && found.Tombstone == nil {
		return false
	}
	// A write with an unknown outcome may have been carried out, so the revision is not asked for.
	s.must(found.Record != nil && found.Record.Generation == rec.Generation && found.Record.Session == rec.Session, show(rec)+" again", found)
	s.must(!gone, "the session is open", "gone")
	return true
}

// faults is the harness's means; Case.Missing has seen that they are there.
func (s *scene) faults() Faults {
	s.Helper()
	f, ok := s.harness.(Faults)
	s.must(ok, "a harness that implements Faults", fmt.Sprintf("%T", s.harness))
	return f
}

// inflict breaks the store until mend, or until the end of the case.
func (s *scene) inflict(f Fault) {
	s.Helper()
	faults := s.faults()
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), mendLimit)
		defer cancel()
		if err := faults.Mend(ctx); err != nil {
			s.Errorf("the harness could not mend the store: %v", err)
		}
	})
	err := faults.Inflict(s.ctx, f)
	s.must(err == nil, fmt.Sprintf("the harness inflicts %q", f), err)
}

// mend brings the store back and waits until the backend has noticed.
func (s *scene) mend() {
	s.Helper()
	err := s.faults().Mend(s.ctx)
	s.must(err == nil, "the harness mends the store", err)
	s.recovers()
}

// recovers waits until the backend serves, at every host.
func (s *scene) recovers() {
	s.Helper()
	hosts := []ports.Backend{s.host}
	if s.other != nil {
		hosts = append(hosts, s.other)
	}
	deadline := time.Now().Add(mendLimit)
	for _, b := range hosts {
		for err := s.serves(b); err != nil; err = s.serves(b) {
			s.must(time.Now().Before(deadline), fmt.Sprintf("the backend serves again within %s", mendLimit), err)
			s.pause(50 * time.Millisecond)
		}
	}
}

// serves asks the backend for what needs the store.
func (s *scene) serves(b ports.Backend) error {
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	if err := b.Health(ctx); err != nil {
		return err
	}
	if _, err := b.Get(ctx, []core.Key{key("any", "any")}); err != nil {
		return err
	}
	_, err := b.RenewSessions(ctx, []ports.SessionID{newSessionID()})
	return err
}

// outlives reads up to a proof that everything up to a revision was sent, watching anew from
// the last cursor whenever the stream ends with ErrUnavailable.
func (s *scene) outlives(st *stream, r core.Revision) *stream {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, mendLimit)
	defer cancel()
	for st.loading || st.cursor.Epoch != r.Epoch || st.cursor.N < r.N {
		ev, err := st.watcher.Next(ctx)
		if err == nil {
			st.take(ev)
			continue
		}
		s.must(errors.Is(err, ports.ErrUnavailable) && ctx.Err() == nil, "the stream goes on, or ends with ErrUnavailable", err, st.events)
		st = st.resumed(s.host)
	}
	return st
}
