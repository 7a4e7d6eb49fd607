package backendkit_test

// apply_test.go: Apply over a table in memory that can be told to be changed by others, to
// fail, or to answer late.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// table is a store of encoded documents, as a real one is.
type table struct {
	mu       sync.Mutex
	revision uint64
	docs     map[core.Key][]byte
	versions map[core.Key]uint64
	loads    int
	largest  int // changes of one commit
	// before is called, unlocked, ahead of each commit: what others do in between.
	before func(changes []backendkit.Change)
	fail   error // of each change
}

func newTable() *table {
	return &table{docs: make(map[core.Key][]byte), versions: make(map[core.Key]uint64)}
}

func (t *table) Load(ctx context.Context, keys []backendkit.Wanted) ([]backendkit.Loaded, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loads++
	out := make([]backendkit.Loaded, len(keys))
	for i, k := range keys {
		out[i].SessionOpen = k.Session == "open"
		data, ok := t.docs[k.Key]
		if !ok {
			continue
		}
		out[i].Version = t.versions[k.Key]
		doc, err := backendkit.DecodeFor(k.Key, data)
		if _, newer := errors.AsType[*backendkit.FormatError](err); newer {
			out[i].Err = err
		}
		if err != nil {
			continue
		}
		at := core.Revision{Epoch: "e", N: t.versions[k.Key]}
		if doc.Record != nil {
			doc.Record.Revision = at
		} else {
			doc.Tombstone.Revision = at
		}
		out[i].Document = doc
	}
	return out, nil
}

func (t *table) Commit(_ context.Context, changes []backendkit.Change) []backendkit.Committed {
	if t.before != nil {
		t.before(changes)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.largest = max(t.largest, len(changes))
	out := make([]backendkit.Committed, len(changes))
	for i, c := range changes {
		switch {
		case t.fail != nil:
			out[i].Err = t.fail
		case c.Session != "" && c.Session != "open":
			out[i].Err = ports.ErrSessionGone
		case t.versions[c.Key] != c.Was.Version:
			out[i].Err = backendkit.ErrStale
		default:
			out[i].Revision = core.Revision{Epoch: "e", N: t.writeLocked(c.Key, c.Document)}
		}
	}
	return out
}

func (t *table) writeLocked(key core.Key, doc backendkit.Document) uint64 {
	data, err := backendkit.Encode(doc)
	if err != nil {
		panic(err)
	}
	t.revision++
	t.docs[key], t.versions[key] = data, t.revision
	return t.revision
}

func key(id string) core.Key { return core.Key{Service: "svc", ID: id} }

func rec(id string, gen uint64) ports.Record {
	r := *fullRecord()
	r.Key, r.Session, r.Generation = key(id), "open", core.Generation{N: gen, Random: "r"}
	return r
}

func put(r ports.Record, replaces core.Generation) ports.Mutation {
	return ports.Mutation{Put: &ports.Put{Record: r, Replaces: replaces}}
}

func apply(t *testing.T, to backendkit.Table, muts ...ports.Mutation) []ports.MutationResult {
	t.Helper()
	res, err := backendkit.Apply(t.Context(), to, muts)
	require.NoError(t, err)
	require.Len(t, res, len(muts))
	return res
}

func TestItemsOfOneKeyAreInOrderAndOthersTogether(t *testing.T) {
	tab := newTable()
	a, b := rec("a", 1), rec("b", 1)
	next := a
	next.Owner = "updated"
	res := apply(t, tab,
		put(a, core.Generation{}), put(b, core.Generation{}), put(next, a.Generation),
		ports.Mutation{Delete: &ports.Delete{Key: a.Key, Generation: a.Generation, Cause: core.CauseOperator, Actor: "ops", Reason: "why"}},
		put(a, core.Generation{}))
	for i := range 4 {
		require.NoError(t, res[i].Err, i)
	}
	assert.Equal(t, "updated", res[3].Record.Owner, "as it was removed")
	assert.Equal(t, tab.versions[a.Key], res[3].Record.Revision.N, "at the revision of its removal")
	require.ErrorIs(t, res[4].Err, ports.ErrConflict, "an operator's deletion stands")
	assert.Equal(t, core.CauseOperator, res[4].Tombstone.Cause)
	assert.Equal(t, 2, tab.largest, "the first of each key go together")
}

func TestWhatOthersWroteMeanwhileIsLookedAtAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := newTable()
		mine, theirs := rec("a", 1), rec("a", 2)
		others := 3
		tab.before = func([]backendkit.Change) {
			if others--; others < 0 {
				return
			}
			tab.mu.Lock()
			defer tab.mu.Unlock()
			r := theirs
			r.Generation.N += uint64(others)
			tab.writeLocked(r.Key, record(&r))
		}
		res := apply(t, tab, put(mine, core.Generation{}))
		require.ErrorIs(t, res[0].Err, ports.ErrConflict)
		assert.Equal(t, uint64(4), res[0].Record.Generation.N)
		assert.Equal(t, 2, tab.loads)
	})
}

func TestAKeyThatNeverRestsIsContention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := newTable()
		a := rec("a", 1)
		apply(t, tab, put(a, core.Generation{}))
		tab.before = func(changes []backendkit.Change) {
			tab.mu.Lock()
			defer tab.mu.Unlock()
			for _, c := range changes {
				if c.Key == a.Key {
					tab.writeLocked(a.Key, record(&a))
				}
			}
		}
		other := rec("b", 1)
		res := apply(t, tab, ports.Mutation{SetState: &ports.SetState{
			Key: a.Key, Generation: a.Generation, Observed: &ports.ObservedState{Observed: core.ObservedHealthy},
		}}, put(other, core.Generation{}))
		require.ErrorIs(t, res[0].Err, ports.ErrContention)
		require.NoError(t, res[1].Err, "others are none the worse for it")
	})
}

func TestAGuessIsRightOrLookedAt(t *testing.T) {
	tab := newTable()
	guessing := func(muts ...ports.Mutation) []ports.MutationResult {
		t.Helper()
		res, err := backendkit.ApplyGuessing(t.Context(), tab, muts)
		require.NoError(t, err)
		return res
	}
	a, b, gone := rec("a", 1), rec("b", 1), rec("c", 1)
	gone.Session = "gone"
	res := guessing(put(a, core.Generation{}), put(b, core.Generation{}), put(gone, core.Generation{}))
	assert.Zero(t, tab.loads, "what is created is not looked for")
	require.NoError(t, res[0].Err)
	require.NoError(t, res[1].Err)
	require.ErrorIs(t, res[2].Err, ports.ErrSessionGone)

	// Of what stands, the answers are those of Apply, one look later.
	again := a
	again.Generation.Random = "another"
	res = guessing(put(a, core.Generation{}), put(again, core.Generation{}), put(b, b.Generation))
	assert.Equal(t, 3, tab.loads, "one beside the guesses, one after a wrong one, one for the second item of a key")
	require.NoError(t, res[0].Err, "a retry")
	require.ErrorIs(t, res[1].Err, ports.ErrConflict)
	require.NoError(t, res[2].Err)
	assert.Equal(t, a.Generation, res[1].Record.Generation)

	// What follows on a key is no guess.
	loads := tab.loads
	remove := ports.Mutation{Delete: &ports.Delete{Key: a.Key, Generation: a.Generation, Cause: core.CauseOperator}}
	next := a
	next.Generation = a.Generation.Next()
	for _, r := range guessing(remove, put(next, core.Generation{})) {
		require.NoError(t, r.Err)
	}
	assert.Equal(t, loads+2, tab.loads)
}

func TestAContextEndsTheWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := newTable()
		a := rec("a", 1)
		ctx, cancel := context.WithCancel(t.Context())
		tab.before = func(changes []backendkit.Change) {
			cancel()
			tab.mu.Lock()
			defer tab.mu.Unlock()
			tab.versions[changes[0].Key]++
			tab.docs[changes[0].Key] = []byte("corrupt")
		}
		_, err := backendkit.Apply(ctx, tab, []ports.Mutation{put(a, core.Generation{})})
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestUnknownFieldsSurviveARewriteAndEndWithTheGeneration(t *testing.T) {
	tab := newTable()
	a := rec("a", 1)
	doc := record(&a)
	doc.Unknown = map[string]json.RawMessage{"flavour": json.RawMessage(`"sweet"`)}
	doc.UnknownState = map[string]json.RawMessage{"mood": json.RawMessage(`1`)}
	tab.writeLocked(a.Key, doc)
	rewrites := []ports.Mutation{
		put(a, a.Generation),
		{SetState: &ports.SetState{Key: a.Key, Generation: a.Generation, Observed: &ports.ObservedState{Observed: core.ObservedHealthy}}},
	}
	for _, m := range rewrites {
		require.NoError(t, apply(t, tab, m)[0].Err)
		assert.Contains(t, string(tab.docs[a.Key]), `"flavour":"sweet"`)
		assert.Contains(t, string(tab.docs[a.Key]), `"mood":1`)
	}
	require.NoError(t, apply(t, tab, put(rec("a", 2), a.Generation))[0].Err)
	assert.NotContains(t, string(tab.docs[a.Key]), "flavour", "a take-over is a record of its own")
}

func TestWhatCannotBeReadIsOverwrittenUnlessItIsNewer(t *testing.T) {
	tab := newTable()
	for id, data := range map[string]string{"corrupt": "{", "newer": `{"v":99}`} {
		tab.docs[key(id)], tab.versions[key(id)] = []byte(data), 7
	}
	res := apply(t, tab, put(rec("corrupt", 1), core.Generation{}), put(rec("newer", 1), core.Generation{}))
	require.NoError(t, res[0].Err)
	require.ErrorIs(t, res[1].Err, ports.ErrUnsupported)
	require.ErrorContains(t, res[1].Err, "format 99")
}

func TestErrorsOfACommitAreTheItems(t *testing.T) {
	tab := newTable()
	tab.fail = fmt.Errorf("gone away: %w", ports.ErrUnavailable)
	res := apply(t, tab, put(rec("a", 1), core.Generation{}), ports.Mutation{})
	require.ErrorIs(t, res[0].Err, ports.ErrUnavailable)
	require.ErrorIs(t, res[1].Err, ports.ErrInvalid)
}

func TestNothingOfTheCallersIsKeptOrGiven(t *testing.T) {
	tab := newTable()
	a := rec("a", 1)
	a.Body = []byte(`{"v":1}`)
	res := apply(t, tab, put(a, core.Generation{}))
	copy(a.Body, "XXXXXXX")
	assert.JSONEq(t, `{"v":1}`, string(res[0].Record.Body))
}

func TestACallThatIsTooLargeDoesNothing(t *testing.T) {
	tab := newTable()
	_, err := backendkit.Apply(t.Context(), tab, make([]ports.Mutation, ports.MaxBatch+1))
	require.ErrorIs(t, err, ports.ErrInvalid)
	var muts []ports.Mutation
	for i := range 12 {
		r := rec(fmt.Sprintf("a%d", i), 1)
		r.Body = make([]byte, ports.MaxBodyBytes)
		muts = append(muts, put(r, core.Generation{}))
	}
	_, err = backendkit.Apply(t.Context(), tab, muts)
	require.ErrorIs(t, err, ports.ErrTooLarge)
	assert.Zero(t, tab.loads)
}
