package conformance

// cases_life.go: contexts that end, and Close.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var lifeCases = []scenario{
	{
		id:          "life/cancelled",
		requirement: "Every method returns promptly when its context has ended, with the context's error or ErrUnavailable.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			ctx, cancel := context.WithCancel(s.ctx)
			cancel()
			for what, call := range everyCall(s.host, rec) {
				s.promptly(what+" returns", func() time.Duration {
					began := time.Now()
					err := call(ctx)
					took := time.Since(began)
					s.must(err != nil && isEnd(err, context.Canceled), what+" gives the context's error", err)
					return took
				})
			}
			s.must(s.host.Health(s.ctx) == nil, "the backend goes on", nil)
		},
	},
	{
		id:          "life/answers-are-the-callers",
		requirement: "What a backend returns is the caller's, to keep and to change: nobody else sees it.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			streams := []*stream{s.follow(s.host), s.follow(s.host), s.follow(s.second())}
			rec := record(key("svc", "a"), sess.ID)
			want := asStored(rec, core.Revision{})
			want.Body = bytes.Clone(rec.Body)
			scribble := func(r *ports.Record) {
				s.must(r != nil, "a record", r)
				want.Revision = r.Revision
				s.mustEqual(r, want, "an answer before anybody wrote into it")
				for i := range r.Body {
					r.Body[i] = 'X'
				}
				r.Owner, r.Session, r.State.Reason = "scribbled over", "scribbled-over", "scribbled over"
			}
			scribble(s.create(s.host, rec))
			for range 2 {
				scribble(s.get(s.host, rec.Key)[0].Record)
				scribble(s.list(s.host).records[rec.Key])
				conflict := record(rec.Key, sess.ID)
				scribble(s.refused(s.host, put(conflict), ports.ErrConflict).Record)
			}
			for _, st := range streams {
				st.through(want.Revision)
				scribble(st.records[rec.Key])
			}
			removed := s.done(s.host, remove(removal(&rec)))
			for range 2 {
				tomb := s.gone(s.host, rec.Key)
				s.must(tomb != nil && tomb.Actor == "owner" && tomb.Revision == removed.Revision, "the tombstone of the removal", tomb)
				tomb.Actor = "scribbled over"
			}
			for _, st := range streams {
				st.through(removed.Revision)
				tomb := st.deleted[rec.Key]
				s.must(tomb != nil && tomb.Actor == "owner", "the tombstone of the removal", tomb)
				tomb.Actor = "scribbled over"
			}
		},
	},
	{
		id:          "life/close",
		requirement: "Everything after Close gives ErrClosed. A second Close does nothing and returns nil.",
		run: func(s *scene) {
			b := s.open(s.namespace + "-closed")
			sess := s.session(b, longTTL)
			rec := s.create(b, record(key("svc", "a"), sess.ID))
			for range 2 {
				err := b.Close()
				s.must(err == nil, "the backend closes, and closes again", err)
			}
			for what, call := range everyCall(b, rec) {
				s.mustBe(call(s.ctx), ports.ErrClosed, what+" after Close")
			}
		},
	},
	{
		id:          "life/close-ends-watches",
		requirement: "Close ends every watch with ErrClosed.",
		run: func(s *scene) {
			b := s.open(s.namespace + "-closed")
			idle, blocked := s.follow(b), s.follow(b)
			ended := make(chan error, 1)
			go func() {
				for {
					if _, err := blocked.watcher.Next(s.ctx); err != nil {
						ended <- err
						return
					}
				}
			}()
			s.must(b.Close() == nil, "the backend closes", nil)
			select {
			case err := <-ended:
				s.mustBe(err, ports.ErrClosed, "a blocked Next, after Close,")
			case <-time.After(waitLimit):
				s.must(false, "a blocked Next returns after Close", fmt.Sprintf("nothing within %s", waitLimit))
			}
			// What the watch had received before may be handed out first.
			var err error
			for n := 0; err == nil && n < 10; n++ {
				_, err = idle.read(waitLimit)
			}
			s.mustBe(err, ports.ErrClosed, "Next after Close")
		},
	},
	{
		id:          "life/close-leaves-the-store",
		requirement: "Sessions and records stay in the store when a backend is closed: other hosts see them, and whoever opens it again renews them by id.",
		run: func(s *scene) {
			b := s.open(s.namespace + "-left")
			sess, err := b.OpenSession(s.ctx, sessionSpec(newSessionID(), longTTL))
			s.must(err == nil, "a session is opened", err)
			rec := s.create(b, record(key("svc", "a"), sess.ID))
			s.must(b.Close() == nil, "the backend closes", nil)
			again := s.open(s.namespace + "-left")
			if !s.info.Capabilities.MultiHost {
				// The store may have been in the process that ended: all is there, or nothing.
				found := s.get(again, rec.Key)[0]
				res, err := again.RenewSessions(s.ctx, []ports.SessionID{sess.ID})
				s.must(err == nil && len(res) == 1 && res[0].Gone == (found.Record == nil), "session and record are both there, or both gone", res, found, err)
				return
			}
			s.stands(again, rec)
			s.mustRenew(again, sess.ID)
			s.must(again.CloseSession(s.ctx, sess.ID) == nil, "the session closes", nil)
		},
	},
}

// prompt is how soon after the end of its context a call returns: well before the next Bookmark
// of a stream that gives one each second, which could else be what it had waited for.
const prompt = ports.MaxBookmarkGap / 4

// promptly asks that something takes no longer than prompt, by its own account. A machine that is
// busy has a few attempts.
func (s *scene) promptly(what string, try func() (took time.Duration)) {
	s.Helper()
	var all []time.Duration
	for range 5 {
		took := try()
		if took <= prompt {
			return
		}
		all = append(all, took)
	}
	s.must(false, fmt.Sprintf("%s within %s of the end of its context, at least once in %d attempts", what, prompt, len(all)), all)
}

// everyCall is every method that can fail, by name.
func everyCall(b ports.Backend, rec *ports.Record) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Health": b.Health,
		"OpenSession": func(ctx context.Context) error {
			_, err := b.OpenSession(ctx, sessionSpec(newSessionID(), longTTL))
			return err
		},
		"RenewSessions": func(ctx context.Context) error {
			_, err := b.RenewSessions(ctx, []ports.SessionID{rec.Session})
			return err
		},
		"CloseSession": func(ctx context.Context) error { return b.CloseSession(ctx, newSessionID()) },
		"Apply": func(ctx context.Context) error {
			results, err := b.Apply(ctx, []ports.Mutation{replace(*rec, rec.Generation)})
			if err == nil && len(results) == 1 {
				err = results[0].Err // an outage may be told of each item
			}
			return err
		},
		"Get": func(ctx context.Context) error {
			_, err := b.Get(ctx, []core.Key{rec.Key})
			return err
		},
		"Watch": func(ctx context.Context) error {
			w, err := b.Watch(ctx, ports.WatchRequest{})
			for err == nil { // a watch may be accepted and fail at its first event
				_, err = w.Next(ctx)
			}
			if w != nil {
				_ = w.Close() // nothing is left to be learnt from it
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		},
	}
}
