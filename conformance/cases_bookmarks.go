package conformance

// cases_bookmarks.go: the proofs of a stream that goes on. That none comes while the store is
// away is in cases_faults.go.

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var bookmarkCases = []scenario{
	{
		id:          "watch/bookmarks",
		requirement: "A Bookmark follows at least every MaxBookmarkGap: a proof from the store that everything up to its cursor was sent.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			st := s.watch(s.second(), ports.WatchRequest{Services: []string{"idle"}, Follow: true})
			st.synced()
			// Writes of other services go on; they come as cursors only.
			s.keepsGaps(st, func() { rec = s.done(s.host, replace(*rec, rec.Generation)) })
			st.through(rec.Revision)
		},
	},
	{
		id:          "watch/bookmarks-at-rest",
		requirement: "Bookmarks come while nothing is written at all, too.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			s.create(s.host, record(key("svc", "a"), sess.ID))
			s.keepsGaps(s.follow(s.second()), func() {})
		},
	},
	{
		id:          "watch/bookmarks-while-busy",
		requirement: "Bookmarks come while changes pour in, and some of them are always waiting to be read, too.",
		run: func(s *scene) {
			const records, limit = 64, 2*ports.MaxBookmarkGap + graceAfterExpiry
			p := s.pour(records)
			defer p.stop()
			began, from := time.Now(), len(p.st.events)
			for proofs := 0; proofs < 2; {
				// Where writes are slow the stream waits for its reader, who lets them get ahead: that time is not its own,
				// and each record comes only so often.
				late := time.Since(began)-p.held > limit || time.Since(began) > limit && len(p.st.events)-from > 8*records
				s.must(!late, "two Bookmarks within twice MaxBookmarkGap", p.st.events[from:])
				if kind := p.next().Kind; kind == ports.WatchBookmark || kind == ports.WatchSynced { // the latter after a Reset
					proofs++
				}
			}
			p.stop()
			s.must(p.err == nil, "writes go on", p.err)
			p.st.fence(s.host)
			p.st.agrees(s.host, p.keys...)
		},
	},
}

// keepsGaps asks that a stream which nothing else comes from gives Bookmarks in time, with
// something done before each, however long that takes. A machine that is busy may miss one; then as
// many are tried again.
func (s *scene) keepsGaps(st *stream, between func()) {
	s.Helper()
	const proofs, attempts = 5, 3
	const limit = 2 * ports.MaxBookmarkGap // for a single one, at any time
	last, seen := time.Now(), s.attend(st)
	var all [][]time.Duration
	for range attempts {
		var gaps []time.Duration
		for len(gaps) < proofs {
			between()
			ev := st.next("a Bookmark", limit+graceAfterExpiry)
			s.must(ev.Kind == ports.WatchBookmark, "nothing but Bookmarks of a stream without changes", ev)
			gaps = append(gaps, seen.at.Sub(last))
			last = seen.at
		}
		s.must(slices.Max(gaps) <= limit, fmt.Sprintf("no gap above %s", limit), gaps)
		if slices.Max(gaps) <= ports.MaxBookmarkGap {
			s.Logf("gaps between bookmarks: %s", gaps)
			return
		}
		all = append(all, gaps)
	}
	s.must(false, fmt.Sprintf("%d gaps in a row of at most %s, once in %d attempts", proofs, ports.MaxBookmarkGap, attempts), all)
}

// pouring is a stream into which a goroutine pours changes. Reader and writer wait for each
// other, so that some rounds, but not very many, are always written and not yet read.
type pouring struct {
	s       *scene
	st      *stream
	keys    []core.Key
	written atomic.Int64  // rounds that were acknowledged
	read    atomic.Int64  // the latest round that was read of
	held    time.Duration // for how long reading waited for writes
	cancel  context.CancelFunc
	writing sync.WaitGroup
	err     error // of the writer, after stop
}

const (
	leastAhead = 2
	mostAhead  = 8
)

// pour begins to write so many records over and over.
func (s *scene) pour(records int) *pouring {
	s.Helper()
	sess := s.session(s.host, longTTL)
	var puts []ports.Mutation
	p := &pouring{s: s}
	for i := range records {
		rec := record(key("svc", fmt.Sprintf("id-%d", i)), sess.ID)
		puts, p.keys = append(puts, put(rec)), append(p.keys, rec.Key)
	}
	recs := s.doneAll(s.host, puts)
	p.st = s.follow(s.second())
	ctx, cancel := context.WithCancel(s.ctx)
	p.cancel = cancel
	p.writing.Go(func() { p.err = p.write(ctx, recs) })
	return p
}

// write updates every record in each round, and says in it which round it is.
func (p *pouring) write(ctx context.Context, recs []*ports.Record) error {
	for round := int64(1); ctx.Err() == nil; round++ {
		muts := make([]ports.Mutation, len(recs))
		for i, rec := range recs {
			update := *rec
			update.Body = []byte(fmt.Sprintf(`{"v":1,"host":"10.0.0.1","port":1,"weight":%d}`, round))
			muts[i] = replace(update, rec.Generation)
		}
		results, err := applyAll(p.s.ctx, p.s.host, muts)
		if err != nil {
			return err
		}
		for _, res := range results {
			if res.Err != nil {
				return res.Err
			}
		}
		p.written.Store(round)
		for ctx.Err() == nil && round-p.read.Load() >= mostAhead {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// next reads one event as soon as enough is waiting behind it.
func (p *pouring) next() ports.WatchEvent {
	p.s.Helper()
	began := time.Now()
	for ; p.written.Load()-p.read.Load() < leastAhead; p.s.pause(time.Millisecond) {
		p.s.must(time.Since(began) < waitLimit, "writes go on", p.written.Load())
	}
	p.held += time.Since(began)
	ev := p.st.next("a change, or a Bookmark", waitLimit)
	if ev.Record != nil {
		var round int64
		if _, err := fmt.Sscanf(string(ev.Record.Body), `{"v":1,"host":"10.0.0.1","port":1,"weight":%d}`, &round); err == nil {
			p.read.Store(max(round, p.read.Load()))
		}
	}
	return ev
}

// stop ends the writes, and may be called more than once.
func (p *pouring) stop() {
	p.cancel()
	p.writing.Wait()
}
