package conformance_test

// odd_test.go: backends with one method, or one answer, that is not as it should be: one for each
// case that nothing in broken_test.go is about.

import (
	"context"
	"testing"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// odd does what is set in its own way; inner is the way of the backend.
type odd struct {
	ports.Backend

	open  func(ctx context.Context, inner ports.Backend, spec ports.SessionSpec) (ports.Session, error)
	renew func(ctx context.Context, inner ports.Backend, ids []ports.SessionID) ([]ports.RenewResult, error)
	end   func(ctx context.Context, inner ports.Backend, id ports.SessionID) error
	apply func(ctx context.Context, inner ports.Backend, muts []ports.Mutation) ([]ports.MutationResult, error)
	get   func(ctx context.Context, inner ports.Backend, keys []core.Key) ([]ports.Found, error)
	watch func(ctx context.Context, inner ports.Backend, req ports.WatchRequest) (ports.Watcher, error)
}

func (b odd) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	if b.open != nil {
		return b.open(ctx, b.Backend, spec)
	}
	return b.Backend.OpenSession(ctx, spec)
}

func (b odd) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	if b.renew != nil {
		return b.renew(ctx, b.Backend, ids)
	}
	return b.Backend.RenewSessions(ctx, ids)
}

func (b odd) CloseSession(ctx context.Context, id ports.SessionID) error {
	if b.end != nil {
		return b.end(ctx, b.Backend, id)
	}
	return b.Backend.CloseSession(ctx, id)
}

func (b odd) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if b.apply != nil {
		return b.apply(ctx, b.Backend, muts)
	}
	return b.Backend.Apply(ctx, muts)
}

func (b odd) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	if b.get != nil {
		return b.get(ctx, b.Backend, keys)
	}
	return b.Backend.Get(ctx, keys)
}

func (b odd) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	if b.watch != nil {
		return b.watch(ctx, b.Backend, req)
	}
	return b.Backend.Watch(ctx, req)
}

// oddWatcher does what is set in its own way.
type oddWatcher struct {
	ports.Watcher

	next func(ctx context.Context, inner ports.Watcher) (ports.WatchEvent, error)
	end  func(inner ports.Watcher) error
}

func (w oddWatcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	if w.next != nil {
		return w.next(ctx, w.Watcher)
	}
	return w.Watcher.Next(ctx)
}

func (w oddWatcher) Close() error {
	if w.end != nil {
		return w.end(w.Watcher)
	}
	return w.Watcher.Close()
}

func TestOddBackendsAreCaught(t *testing.T) {
	t.Parallel()
	items := func(do func(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult) func() odd {
		return func() odd {
			return odd{apply: func(ctx context.Context, inner ports.Backend, muts []ports.Mutation) ([]ports.MutationResult, error) {
				return itemwise{inner, do}.Apply(ctx, muts)
			}}
		}
	}
	for _, tt := range []struct {
		fault  string
		made   func() odd
		caught []string
	}{
		{"a Put opens its session", items(openOnPut), []string{"put/session-not-open"}},
		{"a take-over leaves the owner", items(keepOwner), []string{"put/takeover"}},
		{"streaks are positive", items(positiveStreak), []string{"put/every-field"}},
		{"whatever was declared survives", items(keepDeclared), []string{"put/other-states-do-not-survive"}},
		{"a generation is enough for a retry", items(anyRetry), []string{"put/same-generation-other-session"}},
		{"a status of what is gone is a conflict", items(conflictOnAbsent), []string{"state/absent"}},
		{"each status is of its own time", items(alwaysChanged), []string{"state/changed-at"}},
		{"an expiry admits older generations", items(admitting(func(t ports.Tombstone) bool { return t.Cause.Expires() })), []string{"tombstone/blocks-older"}},
		{"what went with its session may come back", items(admitting(func(t ports.Tombstone) bool { return t.Actor == "" })), []string{"tombstone/blocks-after-close"}},
		{"nothing comes back from an expiry", items(neverBack), []string{"tombstone/admits-expired"}},
		{"Delete takes all that begins alike", items(deletePrefix), []string{"delete/other-records-stay"}},
		{"keeps its arguments", retaining, []string{"put/arguments-not-kept"}},
		{"an empty call is a mistake", noEmptyCall, []string{"apply/nothing"}},
		{"the end of a long batch is out of order", swapped, []string{"apply/whole-batch"}},
		{"a key is answered once", answeringOnce, []string{"get/answers"}},
		{"a list is a write behind", listBehind, []string{"get/list-linearizable"}},
		{"one write at a time", oneWriter, []string{"load/every-method-at-once"}},
		{"renewals come back in another order", reversed, []string{"session/renew", "session/renew-many"}},
		{"renewals are not written", cachedRenewals, []string{"expiry/renewed-lives", "expiry/not-early-after-renewal"}},
		{"renewals of a long call are cut", cutRenewals, []string{"expiry/not-early-after-renewal"}},
		{"a session that is closing counts as closed", closedAtOnce, []string{"session/close-large"}},
		{"any session is renewed", immortal, []string{"life/close-leaves-the-store", "session/renew"}},
		{"any session is opened", unchecked, []string{"session/open-invalid"}},
		{"a session is opened once", exclusive, []string{"session/reopen", "session/reopen-at-once"}},
		{"sessions end with those that begin alike", endPrefix, []string{"names/sessions"}},
		{"a list ends once", endsOnce, []string{"watch/list"}},
		{"a closed watch is at its end", closedAtEnd, []string{"watch/close"}},
		{"a cancelled watch goes on", revived, []string{"watch/cancel"}},
		{"one watch that closes takes another along", entangled, []string{"watch/many"}},
		{"an answer has one message", oneMessage, []string{"load/large-snapshot"}},
		{"listens after it has read what there is", listeningLate(false), []string{"watch/many"}},
		{"listens after it has caught up", listeningLate(true), []string{"watch/many"}},
		{"counts on through its pages", countingPages, []string{"load/large-snapshot"}},
		{"resuming begins one change early", overlapping, []string{"resume/nothing-new"}},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			isCaught(t, broken(func(b ports.Backend) ports.Backend {
				o := tt.made()
				o.Backend = b
				return o
			}), tt.caught...)
		})
	}
}
