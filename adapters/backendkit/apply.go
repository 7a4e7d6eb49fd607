package backendkit

// apply.go: ports.Records.Apply over a store that can compare and set. Read, decide, write if
// nothing changed; again for what did.

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Table is a store as Apply and Get use it. Both methods are safe for concurrent use, return promptly
// when their context ends, and return errors that wrap exactly one sentinel of package ports.
type Table interface {
	// Load reads what stands at keys, linearizably, in their order. Apply asks for a key
	// once; a caller of Get may for the same key again.
	Load(ctx context.Context, keys []Wanted) ([]Loaded, error)
	// Commit writes changes, each of them atomically and only where its conditions hold. It
	// answers in their order. The changes are of different keys and need not be atomic
	// together.
	Commit(ctx context.Context, changes []Change) []Committed
}

// Wanted is a key that Load reads.
type Wanted struct {
	Key core.Key
	// Session, when not empty, is a session of which Load says whether it is open. Many keys may
	// want the same.
	Session ports.SessionID
}

// Loaded is what stands at a key.
type Loaded struct {
	// Document is the record or the tombstone, with its Revision; neither where there is none or
	// where what stands there is corrupt: that is overwritten.
	Document
	// Version is the store's own of what stands there, 0 for nothing. Commit gets it back.
	Version uint64
	// SessionOpen answers for Wanted.Session.
	SessionOpen bool
	// Err says that the key cannot be used, such as a FormatError; the mutation is answered with
	// it. It wraps ports.ErrUnsupported unless it wraps another sentinel.
	Err error
}

// Change is a write of one key. Exactly one of Record and Tombstone of its Document is set,
// which is what shall stand there; encode it with Encode.
type Change struct {
	Document

	Key core.Key
	// Was is what Load found. The change is made only if that still stands there: same Version,
	// and nothing where nothing was.
	Was Loaded
	// Session, when not empty, must be open as the change is made.
	Session ports.SessionID
	// ID is random and the same when Apply's caller's client repeats the commit: a store whose
	// client may send twice keeps it (Document.Write) and answers the second time as the first.
	ID string
}

// Committed answers for one change: the revision that it has, or why it was not made.
type Committed struct {
	Revision core.Revision
	// Err is nil, ErrStale, or wraps ports.ErrSessionGone, ErrContention, ErrTooLarge,
	// ErrPermission or ErrUnavailable (the outcome is unknown).
	Err error
}

// ErrStale is Commit's answer where something else stands than was loaded: nothing was
// written. Apply loads and decides anew.
var ErrStale = errors.New("changed since it was read")

const (
	// maxRounds is how often Apply tries a key that others write all the time.
	maxRounds  = 64
	retryPause = 2 * time.Millisecond // and up to 32 times that, with jitter
)

// Apply carries out mutations as ports.Records.Apply asks. Mutations of different keys go to
// the store together; those of one key in order, one after the other.
func Apply(ctx context.Context, t Table, muts []ports.Mutation) ([]ports.MutationResult, error) {
	return apply(ctx, t, muts, false)
}

// ApplyGuessing is Apply for a store whose Commit holds by itself: what a Put is to create is
// first taken for absent, and its session for open, without a look. Most registrations are then one
// round trip; for the others it is one more.
func ApplyGuessing(ctx context.Context, t Table, muts []ports.Mutation) ([]ports.MutationResult, error) {
	return apply(ctx, t, muts, true)
}

// apply guesses in its first round, if it may.
func apply(ctx context.Context, t Table, muts []ports.Mutation, guess bool) ([]ports.MutationResult, error) {
	if err := CheckMutations(muts); err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	results := make([]ports.MutationResult, len(muts))
	todo := make([]int, 0, len(muts)) // indices of what is not answered yet, in order
	for i, m := range muts {
		if err := CheckMutation(m); err != nil {
			results[i].Err = err
			continue
		}
		todo = append(todo, i)
	}
	stale := 0 // rounds one after the other in which somebody else was faster
	for rounds := make(map[int]int); len(todo) > 0; {
		if err := rest(ctx, stale); err != nil {
			return nil, fmt.Errorf("apply: %w", err)
		}
		turn := firstOfEachKey(muts, todo)
		missed, err := round(ctx, t, muts, turn, results, guess)
		if err != nil {
			return nil, fmt.Errorf("apply: %w", err)
		}
		again := make(map[int]bool, len(missed))
		for _, i := range missed {
			if rounds[i]++; rounds[i] >= maxRounds {
				results[i].Err = fmt.Errorf("%s is written by others all the time: %w", muts[i].Key(), ports.ErrContention)
				continue
			}
			again[i] = true
		}
		if stale++; len(missed) == 0 || guess { // a wrong guess is nobody's haste
			stale = 0
		}
		guess = false // what comes after a first item of a key is no guess
		todo = without(todo, turn, again)
	}
	return results, nil
}

// rest waits a little after rounds in which somebody else was faster.
func rest(ctx context.Context, stale int) error {
	if stale == 0 {
		return ctx.Err()
	}
	most := retryPause << min(stale, 5)
	timer := time.NewTimer(mathrand.N(most)) //nolint:gosec // Jitter, not a secret.
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// firstOfEachKey picks, from the indices that are left, those whose turn it is.
func firstOfEachKey(muts []ports.Mutation, todo []int) []int {
	seen := make(map[core.Key]struct{}, len(todo))
	turn := make([]int, 0, len(todo))
	for _, i := range todo {
		key := muts[i].Key()
		if _, later := seen[key]; later {
			continue
		}
		seen[key] = struct{}{}
		turn = append(turn, i)
	}
	return turn
}

// without drops those that had their turn, except the ones to try again.
func without(todo, turn []int, again map[int]bool) []int {
	had := make(map[int]bool, len(turn))
	for _, i := range turn {
		had[i] = !again[i]
	}
	left := todo[:0]
	for _, i := range todo {
		if !had[i] {
			left = append(left, i)
		}
	}
	return left
}

// round loads, decides and commits one mutation of each key, writes down the results, and
// returns the indices of those for which somebody else was faster, or the guess was wrong.
func round(ctx context.Context, t Table, muts []ports.Mutation, turn []int, results []ports.MutationResult, guess bool) ([]int, error) {
	wanted, loaded := make([]Wanted, len(turn)), make([]Loaded, len(turn))
	var ask []Wanted
	var asked []int // where in turn
	for at, i := range turn {
		wanted[at].Key = muts[i].Key()
		put := muts[i].Put
		if put != nil {
			wanted[at].Session = put.Record.Session
		}
		if guess && put != nil && creates(*put) {
			loaded[at].SessionOpen = true
			continue
		}
		ask, asked = append(ask, wanted[at]), append(asked, at)
	}
	if len(ask) > 0 {
		found, err := t.Load(ctx, ask)
		if err != nil {
			return nil, err
		}
		for n, at := range asked {
			loaded[at] = found[n]
		}
	}
	var changes []Change
	var of []int // the index of the mutation that each change is of
	for at, i := range turn {
		if err := loaded[at].Err; err != nil {
			results[i].Err = loadError(err)
			continue
		}
		d := decide(muts[i], loaded[at].Found, loaded[at].SessionOpen)
		if d.Answer != nil {
			results[i] = handOut(*d.Answer)
			continue
		}
		changes = append(changes, change(d, wanted[at], loaded[at]))
		of = append(of, i)
	}
	if len(changes) == 0 {
		return nil, nil
	}
	var missed []int
	for at, c := range t.Commit(ctx, changes) {
		i := of[at]
		switch {
		case errors.Is(c.Err, ErrStale):
			missed = append(missed, i)
		case c.Err != nil:
			results[i].Err = c.Err
		default:
			results[i] = done(changes[at], c.Revision)
		}
	}
	return missed, nil
}

// creates tells a Put that finds nothing, as a rule, and whose session Commit can check.
func creates(p ports.Put) bool {
	return p.Replaces.IsZero() && p.IfRevision.IsZero() && core.ValidateName("session", string(p.Record.Session)) == nil
}

// change is the write that a decision asks for.
func change(d Decision, w Wanted, was Loaded) Change {
	c := Change{Key: w.Key, Was: was, Session: w.Session, ID: rand.Text()}
	c.Record, c.Tombstone, c.Write = d.Put, d.Delete, c.ID
	if d.Rewrite {
		c.Unknown, c.UnknownState = was.Unknown, was.UnknownState
	}
	return c
}

// done is the answer for a change that was made: the record as it stands, or as it was
// removed, at its new revision.
func done(c Change, r core.Revision) ports.MutationResult {
	rec := c.Record
	if rec == nil {
		rec = c.Was.Record
	}
	out := *rec
	out.Revision = r
	return handOut(ports.MutationResult{Record: &out})
}

// handOut copies what the caller may keep and change.
func handOut(r ports.MutationResult) ports.MutationResult {
	if r.Record != nil {
		rec := *r.Record
		rec.Body = bytes.Clone(rec.Body)
		rec.RegisteredAt, rec.UpdatedAt = stored(rec.RegisteredAt), stored(rec.UpdatedAt)
		rec.State.ChangedAt = stored(rec.State.ChangedAt)
		r.Record = &rec
	}
	return r
}

// stored is a time as Encode keeps it: UTC, to the millisecond.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// loadError gives an error of a key its kind.
func loadError(err error) error {
	if _, newer := errors.AsType[*FormatError](err); newer {
		return fmt.Errorf("%w: %w", ports.ErrUnsupported, err)
	}
	return err
}
