package backendkit

// get.go: ports.Records.Get over a store that can load.

import (
	"context"
	"fmt"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Get reads keys as ports.Records.Get asks: in one Load, answered in the order of the keys. A key
// that no record can have is not asked for and holds nothing.
func Get(ctx context.Context, t Table, keys []core.Key) ([]ports.Found, error) {
	if err := CheckBatch("keys", len(keys)); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	found := make([]ports.Found, len(keys))
	var wanted []Wanted
	var places []int // where in found
	for i, k := range keys {
		if k.Validate() == nil {
			wanted, places = append(wanted, Wanted{Key: k}), append(places, i)
		}
	}
	if len(wanted) == 0 {
		return found, nil
	}
	loaded, err := t.Load(ctx, wanted)
	if err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	for i, l := range loaded {
		found[places[i]] = l.Found
	}
	return found, nil
}
