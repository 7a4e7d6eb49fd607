package consul

// table.go: Load and Commit of backendkit.Table: what makes a decision and its write one.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// table is the store as backendkit.Apply uses it.
type table struct{ *Backend }

// Load implements backendkit.Table: one transaction of reads for up to 127 keys.
func (b table) Load(ctx context.Context, wanted []backendkit.Wanted) ([]backendkit.Loaded, error) {
	keys := []string{b.keys.epoch()}
	for _, w := range wanted {
		keys = append(keys, b.keys.record(w.Key))
	}
	places := make(map[ports.SessionID]int) // of session keys among keys
	for _, w := range wanted {
		if _, known := places[w.Session]; w.Session == "" || known || core.ValidateName("session", string(w.Session)) != nil {
			continue
		}
		places[w.Session] = len(keys)
		keys = append(keys, b.keys.open(w.Session))
	}
	pairs, err := b.read(ctx, keys...)
	if err != nil {
		return nil, err
	}
	e, stood, err := b.currentEpoch(ctx, pairs[0])
	if err != nil {
		return nil, err
	}
	if !stood { // What was read with it is of no known epoch.
		return b.Load(ctx, wanted)
	}
	loaded := make([]backendkit.Loaded, len(wanted))
	for i, w := range wanted {
		loaded[i] = load(w.Key, pairs[1+i], e)
		if place, ok := places[w.Session]; ok {
			loaded[i].SessionOpen = pairs[place].ModifyIndex != 0
		}
	}
	return loaded, nil
}

// load reads what stands at a key.
func load(k core.Key, pair *api.KVPair, e epoch) backendkit.Loaded {
	l := backendkit.Loaded{Version: pair.ModifyIndex}
	if pair.ModifyIndex == 0 {
		return l
	}
	d, err := backendkit.DecodeFor(k, pair.Value)
	if err != nil {
		if _, newer := errors.AsType[*backendkit.FormatError](err); newer {
			l.Err = err
		}
		return l
	}
	l.Document = d
	stamp(&l.Found, e.at(pair.ModifyIndex))
	return l
}

// stamp sets the revision of what was found.
func stamp(f *ports.Found, r core.Revision) {
	if f.Record != nil {
		f.Record.Revision = r
	}
	if f.Tombstone != nil {
		f.Tombstone.Revision = r
	}
}

// Commit implements backendkit.Table: as few transactions as hold the changes. One whose
// conditions do not hold for some of them is sent again without those.
func (b table) Commit(ctx context.Context, changes []backendkit.Change) []backendkit.Committed {
	done := make([]backendkit.Committed, len(changes))
	e := b.epochs.get()
	var left []*planned
	for i := range changes {
		c := &changes[i]
		was := c.Was.Found
		old := was.Record != nil && was.Record.Revision.Epoch != e.id || was.Tombstone != nil && was.Tombstone.Revision.Epoch != e.id
		if old {
			done[i].Err = backendkit.ErrStale
			continue
		}
		p, err := b.plan(c, i)
		if err != nil {
			done[i].Err = err
			continue
		}
		left = append(left, p)
	}
	for len(left) > 0 {
		tx := newTransaction(b.Backend, e)
		n := 0
		for n < len(left) && tx.add(left[n]) {
			n++
		}
		again := tx.run(ctx, done)
		left = append(again, left[n:]...)
	}
	return done
}

// planned is a change on its way, with the place of its answer.
type planned struct {
	change *backendkit.Change
	place  int
	value  []byte
	// unmirrored says that Consul's catalog refuses the instance: it is taken out of there.
	unmirrored bool
}

func (b *Backend) plan(c *backendkit.Change, place int) (*planned, error) {
	value, err := backendkit.Encode(c.Document)
	if err != nil {
		return nil, err
	}
	return &planned{change: c, place: place, value: value}, nil
}

// transaction gathers changes, and knows which operation is for which of them.
type transaction struct {
	b     *Backend
	epoch epoch
	ops   api.TxnOps
	bytes int
	added []*planned

	of       []reason // of each operation
	sessions map[ports.SessionID]bool
	versions map[string]bool // of buckets, that it touches
	nodes    map[string]bool // of the catalog, that it makes sure of
	latest   *api.TxnOp
	written  latestJSON // what latest says
}

// reason says what an operation is for: one change, one session, or, with neither, all.
type reason struct {
	change  *planned
	session ports.SessionID
	mirror  bool
	epoch   bool
}

func newTransaction(b *Backend, e epoch) *transaction {
	t := &transaction{b: b, epoch: e, sessions: make(map[ports.SessionID]bool), versions: make(map[string]bool), nodes: make(map[string]bool)}
	t.put(reason{epoch: true}, b.checkEpoch(e))
	return t
}

func (t *transaction) put(r reason, op *api.TxnOp) {
	t.ops, t.of = append(t.ops, op), append(t.of, r)
	encoded, _ := json.Marshal(op) // It consists of plain values.
	t.bytes += len(encoded) + 1
}

// most is how many operations one change adds at the most.
const most = 10

// add takes a change in unless the transaction is full.
func (t *transaction) add(p *planned) bool {
	c, b := p.change, t.b
	if len(t.added) > 0 && (len(t.ops)+most > maxOps || t.bytes+len(p.value)*4/3 > maxTransaction) {
		return false
	}
	t.added = append(t.added, p)
	if c.Session != "" && !t.sessions[c.Session] {
		t.sessions[c.Session] = true
		t.put(reason{session: c.Session}, b.op(api.KVGet, b.keys.open(c.Session), nil, 0)) // fails where it is absent
	}
	t.put(reason{change: p}, b.op(api.KVCAS, b.keys.record(c.Key), p.value, c.Was.Version))
	was, will := holder(c.Was.Record), holder(c.Record)
	if was != will {
		if was != "" {
			t.put(reason{change: p}, b.op(api.KVDelete, b.keys.held(was, c.Key), nil, 0))
		}
		if will != "" {
			t.put(reason{change: p}, b.op(api.KVSet, b.keys.held(will, c.Key), []byte(c.ID), 0))
		}
	}
	t.touch(c.Key, c.ID, p.value)
	if *b.options.Mirror {
		ops := b.mirror.ops(c.Key, c.Was.Record, c.Record, p.unmirrored)
		if node := b.mirror.node(c.Key); len(ops) > 0 && !t.nodes[node] && !b.nodes.have(t.epoch, node) {
			t.nodes[node] = true
			t.put(reason{mirror: true}, b.mirror.nodeSet(node))
		}
		for _, op := range ops {
			t.put(reason{change: p, mirror: true}, op)
		}
	}
	return true
}

// touch moves the keys by which watchers see that a record was written. A value that was there
// before would not move them.
func (t *transaction) touch(k core.Key, write string, document []byte) {
	t.put(reason{}, t.b.op(api.KVSet, t.b.keys.move(k), []byte(write), 0))
	if bucket := bucketOf(k); !t.versions[bucket] {
		t.versions[bucket] = true
		t.put(reason{}, t.b.op(api.KVSet, t.b.keys.version(bucket), []byte(write), 0))
	}
	if t.latest == nil {
		t.latest = t.b.op(api.KVSet, t.b.keys.latest(), nil, 0)
		t.put(reason{}, t.latest)
		t.written.Write, t.written.Epoch = write, t.epoch.id
	}
	t.written.note(k, document)
}

// run commits, writes down what came of it, and returns the changes that have to be sent again.
func (t *transaction) run(ctx context.Context, done []backendkit.Committed) (again []*planned) {
	t.latest.KV.Value = t.written.encode()
	results, errs, err := t.b.write(ctx, t.ops)
	if err != nil {
		for _, p := range t.added {
			done[p.place].Err = err
		}
		return nil
	}
	if len(errs) == 0 {
		for node := range t.nodes {
			t.b.nodes.add(t.epoch, node)
		}
		for _, p := range t.added {
			done[p.place].Revision = t.epoch.at(indexOf(results, t.b.keys.record(p.change.Key)))
		}
		return nil
	}
	failed, unshown := make(map[*planned]error), make(map[*planned]string)
	for _, e := range errs {
		t.blame(e, failed, unshown)
	}
	for _, p := range t.added {
		if why := failed[p]; why != nil {
			done[p.place].Err = why
			continue
		}
		if why, refused := unshown[p]; refused {
			t.b.log.WarnContext(ctx, "Consul's catalog refuses an instance; it is not shown there",
				"service", p.change.Key.Service, "id", p.change.Key.ID, "error", why)
			p.unmirrored = true
		}
		again = append(again, p)
	}
	return again
}

// blame says of which changes a failed operation is, and why they fail, or that the catalog
// alone does not want them: it may only be that the record has moved, too.
func (t *transaction) blame(e *api.TxnError, failed map[*planned]error, unshown map[*planned]string) {
	why := backendkit.ErrStale
	var r reason
	if e.OpIndex >= 0 && e.OpIndex < len(t.of) {
		r = t.of[e.OpIndex]
	}
	switch {
	case isDenial(e):
		why = t.b.denied(e.What)
	case r.epoch:
		// The next Load reads the new one.
	case r.session != "":
		why = fmt.Errorf("session %s has ended: %w", r.session, ports.ErrSessionGone)
	case isMissingNode(e):
		t.b.nodes.clear() // They are made again.
		return
	case r.mirror && r.change != nil && !r.change.unmirrored:
		unshown[r.change] = oneLine(e.What)
		return
	case r.change == nil:
		why = t.b.broken(api.TxnErrors{e})
	}
	for _, p := range t.added {
		concerned := r.change == p || r.change == nil && (r.session == "" || r.session == p.change.Session)
		if concerned && failed[p] == nil {
			failed[p] = why
		}
	}
}

// nodes are those of the catalog that are known to be there, in one epoch.
type nodes struct {
	mu    sync.Mutex
	epoch string          // guarded by mu
	known map[string]bool // guarded by mu
}

func (n *nodes) have(e epoch, node string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.epoch == e.id && n.known[node]
}

func (n *nodes) add(e epoch, node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.epoch != e.id || n.known == nil {
		n.epoch, n.known = e.id, make(map[string]bool)
	}
	n.known[node] = true
}

func (n *nodes) clear() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known = nil
}

// holder is the session that a record is under, "" for none.
func holder(r *ports.Record) ports.SessionID {
	if r == nil {
		return ""
	}
	return r.Session
}

// table is the store as calls from outside see it.
func (b *Backend) table() backendkit.Table {
	if b.options.Import {
		return withForeign{table{b}}
	}
	return table{b}
}

// Apply implements ports.Records. With import a look comes first, at what others registered.
func (b *Backend) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	defer leave()
	if b.options.Import {
		return backendkit.Apply(ctx, b.table(), muts)
	}
	return backendkit.ApplyGuessing(ctx, b.table(), muts)
}

// Get implements ports.Records. What cannot be read counts as absent; a Put of a format that
// is newer than ours is refused all the same.
func (b *Backend) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	defer leave()
	return backendkit.Get(ctx, b.table(), keys)
}
