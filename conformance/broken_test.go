package conformance_test

// broken_test.go: backends with one fault each, at least one for each group of cases, and the
// cases that must catch it. A suite that cannot fail shows nothing.

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

// openFunc is a Harness.
type openFunc func(ctx context.Context, namespace string) (ports.Backend, error)

func (f openFunc) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	return f(ctx, namespace)
}

func openMemory(ctx context.Context, namespace string) (ports.Backend, error) {
	return memory.Open(ctx, memory.Options{Namespace: namespace})
}

// broken puts a fault into every backend that is opened.
func broken(fault func(ports.Backend) ports.Backend) conformance.Harness {
	return openFunc(func(ctx context.Context, namespace string) (ports.Backend, error) {
		b, err := openMemory(ctx, namespace)
		if err != nil {
			return nil, err
		}
		return fault(b), nil
	})
}

// sharing is a store whose namespaces are cut to a length.
func sharing() conformance.Harness {
	var mu sync.Mutex
	opened := make(map[string]ports.Backend)
	return openFunc(func(ctx context.Context, namespace string) (ports.Backend, error) {
		mu.Lock()
		defer mu.Unlock()
		short := namespace[:min(len(namespace), len("conformance-")+12)]
		if opened[short] == nil {
			b, err := openMemory(ctx, short)
			if err != nil {
				return nil, err
			}
			opened[short] = b
		}
		return opened[short], nil
	})
}

// reopened is a store that stays when it is closed, and is odd when it is opened again.
func reopened(t *testing.T, made func() odd) conformance.Harness {
	t.Helper()
	var mu sync.Mutex
	opened := make(map[string]ports.Backend)
	return openFunc(func(ctx context.Context, namespace string) (ports.Backend, error) {
		mu.Lock()
		defer mu.Unlock()
		if before := opened[namespace]; before != nil {
			o := made()
			o.Backend = before
			return o, nil
		}
		b, err := openMemory(ctx, namespace)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { assert.NoError(t, b.Close()) })
		opened[namespace] = endless{b}
		return endless{b}, nil
	})
}

func TestBrokenBackendsAreCaught(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault   string
		harness conformance.Harness
		caught  []string
	}{
		{"info that changes", broken(func(b ports.Backend) ports.Backend { return &whimsical{Backend: b} }), []string{"info/static"}},
		{"an unwell store", broken(func(b ports.Backend) ports.Backend { return unwell{b} }), []string{"info/health"}},
		{"ended ids open again", broken(func(b ports.Backend) ports.Backend { return reopening{b} }), []string{"session/ended-never-again", "expiry/ended-never-again", "random/model"}},
		{"grants less than asked", broken(func(b ports.Backend) ports.Backend { return stingy{b} }), []string{"session/open-grants"}},
		{"expires early", broken(func(b ports.Backend) ports.Backend {
			return ttl{b, func(d time.Duration) time.Duration { return d * 3 / 4 }}
		}), []string{"expiry/not-early", "expiry/not-early-after-renewal", "expiry/not-early-after-reopening", "expiry/distribution", "expiry/open-until-then", "expiry/racing-put", "expiry/large-session"}},
		{"never expires", broken(func(b ports.Backend) ports.Backend {
			return ttl{b, func(time.Duration) time.Duration { return time.Hour }}
		}), []string{"expiry/in-time", "expiry/racing-put", "expiry/distribution", "expiry/large-session"}},
		{"an expiry looks like a deregistration", broken(watching(func(ev ports.WatchEvent) []ports.WatchEvent {
			if ev.Kind == ports.WatchDelete {
				ev.Tombstone.Cause = core.CauseDeregistered
			}
			return []ports.WatchEvent{ev}
		})), []string{"expiry/in-time", "domain/transcript"}},
		{"forgets compare-and-set", broken(applying(forgetGeneration)), []string{"put/create-conflict", "put/takeover-conflict", "put/update-superseded", "put/update-absent", "put/fencing", "load/ownership", "random/model"}},
		{"an update overwrites the status", broken(applying(overwriteState)), []string{"put/update-keeps-state", "put/adoption", "retry/status-against-update"}},
		{"a take-over ends maintenance", broken(applying(endMaintenance)), []string{"put/maintenance-survives"}},
		{"a retry is a new write", broken(applying(rewriteOnRetry)), []string{"put/retry"}},
		{"ignores IfRevision", broken(applying(ignoreRevision)), []string{"put/if-revision", "state/preconditions", "delete/preconditions", "put/fencing", "retry/verbatim", "load/ownership", "random/model"}},
		{"writes bodies in its own way", broken(applying(compactBody)), []string{"put/body-bytes"}},
		{"revisions stand still", broken(applying(repeatRevision)), []string{"put/revisions-increase", "state/parts"}},
		{"a status touches more", broken(applying(touchOwner)), []string{"state/parts", "put/update-keeps-state"}},
		{"forgets why something was deleted", broken(applying(forgetCause)), []string{"tombstone/blocks-deregistered", "delete/tombstone", "domain/transcript"}},
		{"stops at the first refusal", broken(applying(stopAtRefusal)), []string{"apply/not-atomic", "apply/invalid-item"}},
		{"takes any number of items", broken(func(b ports.Backend) ports.Backend { return boundless{b} }), []string{"apply/too-many", "apply/too-large"}},
		{"items in any order", broken(func(b ports.Backend) ports.Backend { return unordered{b} }), []string{"apply/order-within-key"}},
		{"reads lag behind", broken(func(b ports.Backend) ports.Backend {
			return &lagging{Backend: b, seen: make(map[core.Key]ports.Found)}
		}), []string{"get/linearizable"}},
		{"a watch loses deletes", broken(watching(func(ev ports.WatchEvent) []ports.WatchEvent {
			if ev.Kind == ports.WatchDelete {
				return nil
			}
			return []ports.WatchEvent{ev}
		})), []string{"watch/snapshot-then-changes", "watch/deletes-say-why", "load/slow-reader", "session/close"}},
		{"a watch repeats itself", broken(watching(func(ev ports.WatchEvent) []ports.WatchEvent {
			if ev.Kind == ports.WatchPut {
				return []ports.WatchEvent{ev, ev}
			}
			return []ports.WatchEvent{ev}
		})), []string{"watch/empty", "watch/states", "load/ownership"}},
		{"a watch gives no bookmarks", broken(watching(func(ev ports.WatchEvent) []ports.WatchEvent {
			if ev.Kind == ports.WatchBookmark {
				return nil
			}
			return []ports.WatchEvent{ev}
		})), []string{"watch/bookmarks", "watch/bookmarks-while-busy"}},
		{"bookmarks come with changes only", broken(func(b ports.Backend) ports.Backend { return restless{b} }), []string{"watch/bookmarks-at-rest"}},
		{"bookmarks come when nothing else waits", broken(func(b ports.Backend) ports.Backend { return relaxed{b} }), []string{"watch/bookmarks-while-busy"}},
		{"a blocked Next sees the end of its context at the next event", broken(func(b ports.Backend) ports.Backend { return patient{b} }), []string{"watch/cancel"}},
		{"contexts are looked at now and then", broken(func(b ports.Backend) ports.Backend { return drowsy{b} }), []string{"life/cancelled"}},
		{"a watch of a service gives its namesakes", broken(func(b ports.Backend) ports.Backend { return prefixed{b} }), []string{"watch/services", "names/services", "resume/services"}},
		{"a watch ends with the call that opened it", broken(func(b ports.Backend) ports.Backend { return tied{b} }), []string{"watch/outlives-its-opening"}},
		{"states merge in spite of the claim", broken(watching(everyOther())), []string{"watch/states"}},
		{"resuming skips a change", broken(func(b ports.Backend) ports.Backend { return skipping{b} }), []string{"resume/changes-after-cursor", "resume/any-proof"}},
		{"resumes any cursor", broken(func(b ports.Backend) ports.Backend { return credulous{b} }), []string{"resume/foreign-cursor", "resume/after-reopening"}},
		{"snapshots have one page", broken(watching(firstPage())), []string{"load/large-snapshot"}},
		{"names differ in case only", broken(applying(lowerCase)), []string{"names/distinct"}},
		{"namespaces meet", sharing(), []string{"names/namespaces"}},
		{"Close is not the end", broken(func(b ports.Backend) ports.Backend {
			t.Cleanup(func() { assert.NoError(t, b.Close()) })
			return endless{b}
		}), []string{"life/close", "life/close-ends-watches"}},
		{"contexts do not matter", broken(func(b ports.Backend) ports.Backend { return stubborn{b} }), []string{"life/cancelled"}},
		{"CloseSession is answered before it is done", broken(func(b ports.Backend) ports.Backend { return &hasty{Backend: b} }), []string{"session/close-is-complete", "random/model"}},
		{"the store signs what it removes", broken(func(b ports.Backend) ports.Backend { return signing{b} }), []string{"session/close", "expiry/in-time"}},
		{"one bad item refuses the call", broken(func(b ports.Backend) ports.Backend { return wholesale{b} }), []string{"apply/impossible-item", "apply/invalid-item"}},
		{"names and sizes of reads do not matter", broken(func(b ports.Backend) ports.Backend { return unread{b} }), []string{"watch/invalid", "get/too-many"}},
		{"readers share records", broken(func(b ports.Backend) ports.Backend {
			return &sharingRecords{Backend: b, known: make(map[core.Key]*ports.Record)}
		}), []string{"life/answers-are-the-callers"}},
		{"a deletion that is sent again looks like somebody else's", broken(applying(forgetRetries)), []string{"retry/verbatim", "delete/absent"}},
		{"a write that is given up is half done", broken(func(b ports.Backend) ports.Backend { return halving{b, creation} }), []string{"retry/unknown-outcome"}},
		{"removes what has moved meanwhile", broken(sweepingWith(stale)), []string{"session/close-against-moves", "expiry/against-moves"}},
		{"asks for the session before it writes", broken(sweepingWith(hopeful)), []string{"session/close-against-moves"}},
		{"a record goes with the session that made it", broken(sweepingWith(rigid)), []string{"session/moved-records-stay", "expiry/moved-records-stay"}},
		{"a status is written as a whole", broken(applying(wholeState)), []string{"state/parts-at-once"}},
		{"a take-over that is given up is half done", broken(func(b ports.Backend) ports.Backend { return halving{b, takeover} }), []string{"retry/unknown-outcome"}},
		{"an adoption that is given up is half done", broken(func(b ports.Backend) ports.Backend { return halving{b, adoption} }), []string{"retry/unknown-outcome"}},
		{"tombstones go with the process", reopened(t, func() odd {
			return odd{get: func(ctx context.Context, inner ports.Backend, keys []core.Key) ([]ports.Found, error) {
				found, err := inner.Get(ctx, keys)
				for i := range found {
					found[i].Tombstone = nil
				}
				return found, err
			}}
		}), []string{"tombstone/after-reopening"}},
		{"ended ids go with the process", reopened(t, func() odd {
			return odd{open: func(ctx context.Context, inner ports.Backend, spec ports.SessionSpec) (ports.Session, error) {
				return reopening{inner}.OpenSession(ctx, spec)
			}}
		}), []string{"tombstone/after-reopening"}},
		{"a watch does not say who deleted", broken(watching(func(ev ports.WatchEvent) []ports.WatchEvent {
			if ev.Tombstone != nil {
				ev.Tombstone.Actor = ""
			}
			return []ports.WatchEvent{ev}
		})), []string{"random/model", "delete/tombstone"}},
		{"sessions live on when their process is gone", newShared(t, orphans, false), []string{"expiry/owner-gone", "expiry/unattended"}},
		{"nobody takes the place of who ends sessions", newShared(t, headless, false), []string{"expiry/owner-gone"}},
		{"nobody waits for an expiry while nobody is there", newShared(t, untouched, true), []string{"expiry/unattended"}},
		{"a session is gone before its time, its records are not", broken(func(b ports.Backend) ports.Backend {
			return &impatient{Backend: b, renewals: true, ends: make(map[ports.SessionID]time.Time)}
		}), []string{"expiry/open-until-then"}},
		{"reads fail now and then", broken(func(b ports.Backend) ports.Backend { return &blinking{Backend: b} }), []string{"expiry/not-early"}},
		{"Puts are refused before their session ends", broken(func(b ports.Backend) ports.Backend {
			return &impatient{Backend: b, puts: true, ends: make(map[ports.SessionID]time.Time)}
		}), []string{"expiry/open-until-then", "expiry/racing-put"}},
		{"a Put that comes too late stays", broken(applying(harbouring)), []string{"expiry/racing-put", "expiry/ended-never-again"}},
		{"large sessions do not end", broken(newCrowded), []string{"session/close-large", "expiry/large-session"}},
		{"grants far more than asked", broken(func(b ports.Backend) ports.Backend { return asking{b, generousTTL} }), []string{"session/open-grants"}},
		{"a TTL below a second is taken for one", broken(func(b ports.Backend) ports.Backend { return asking{b, roundedTTL} }), []string{"session/open-invalid"}},
		{"an id that is too long is cut", broken(func(b ports.Backend) ports.Backend { return asking{b, shortenedID} }), []string{"session/open-invalid"}},
		{"a corrupt record ends the stream", newDocuments(fussy), []string{"damage/corrupt-record", "damage/newer-format"}},
		{"a record that becomes corrupt ends the stream", newDocuments(brittle), []string{"damage/corrupt-record", "damage/newer-format"}},
		{"a corrupt record is left out in silence", newDocuments(silent), []string{"damage/corrupt-record", "damage/newer-format"}},
		{"a corrupt record takes others from an answer", newDocuments(blind), []string{"damage/corrupt-record", "damage/newer-format"}},
		{"a newer format outlives its session", newDocuments(sticking), []string{"damage/newer-format"}},
		{"a newer format is overwritten", newDocuments(overwriting), []string{"damage/newer-format"}},
		{"a rewrite loses unknown fields", newDocuments(rewriter), []string{"damage/unknown-fields"}},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			isCaught(t, tt.harness, tt.caught...)
		})
	}
}

// isCaught asks that each of the cases fails, in words that say why.
func isCaught(t *testing.T, h conformance.Harness, ids ...string) {
	t.Helper()
	report := conformance.Run(t.Context(), only(t, ids...), h, nil)
	for _, r := range report.Results {
		assert.Equal(t, conformance.Failed, r.Outcome, "%s did not catch it", r.ID)
		for _, f := range r.Failures {
			assert.NotContains(t, f, "panicked", r.ID)
			assert.Contains(t, f, "required: "+r.Requirement, r.ID)
			assert.Contains(t, f, "expected: ", r.ID)
			assert.Contains(t, f, "came: ", r.ID)
			assert.Contains(t, f, "seed: ", r.ID)
		}
	}
}

// only returns the cases of the ids.
func only(t *testing.T, ids ...string) []conformance.Case {
	t.Helper()
	cases := slices.DeleteFunc(conformance.Cases(), func(c conformance.Case) bool { return !slices.Contains(ids, c.ID) })
	require.Len(t, cases, len(ids), "%v", ids)
	return cases
}
