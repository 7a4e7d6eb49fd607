package consul

// optimist.go: a registration in one round trip. A Put that replaces nothing is most often of
// a key where nothing stands; the transaction finds out, so it is not looked at before.

import (
	"context"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// optimist is the store for one call of Apply. It is not safe for concurrent use.
type optimist struct {
	table

	absent map[core.Key]bool // assumed, until Commit says otherwise
}

func newOptimist(t table, muts []ports.Mutation) optimist {
	o := optimist{table: t, absent: make(map[core.Key]bool, len(muts))}
	for _, m := range muts {
		_, again := o.absent[m.Key()] // What comes second finds what the first has left.
		o.absent[m.Key()] = !again && m.Put != nil && m.Put.Replaces.IsZero() && m.Put.IfRevision.IsZero()
	}
	return o
}

// Load implements backendkit.Table.
func (o optimist) Load(ctx context.Context, wanted []backendkit.Wanted) ([]backendkit.Loaded, error) {
	loaded := make([]backendkit.Loaded, len(wanted))
	var asked []backendkit.Wanted
	var places []int
	for i, w := range wanted {
		if o.absent[w.Key] && core.ValidateName("session", string(w.Session)) == nil {
			loaded[i].SessionOpen = true // Commit checks it.
			continue
		}
		asked, places = append(asked, w), append(places, i)
	}
	if len(asked) == 0 {
		return loaded, ctx.Err()
	}
	found, err := o.table.Load(ctx, asked)
	if err != nil {
		return nil, err
	}
	for i, place := range places {
		loaded[place] = found[i]
	}
	return loaded, nil
}

// Commit implements backendkit.Table.
func (o optimist) Commit(ctx context.Context, changes []backendkit.Change) []backendkit.Committed {
	for i := range changes {
		o.absent[changes[i].Key] = false // Whatever comes next of this key looks first.
	}
	return o.table.Commit(ctx, changes)
}
