package conformance

// busy.go: writes that go on while a case does something else.

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// amidWrites does something while records of the service "busy" come and go all the time, and
// returns their keys. None is written twice, so nothing makes up for a write that was missed.
func (s *scene) amidWrites(do func()) []core.Key {
	s.Helper()
	session := s.session(s.host, longTTL).ID
	ctx, cancel := context.WithCancel(s.ctx)
	var keys []core.Key
	var err error
	var writing sync.WaitGroup
	defer writing.Wait()
	defer cancel()
	writing.Go(func() { keys, err = s.comeAndGo(ctx, session) })
	do()
	cancel()
	writing.Wait()
	s.must(err == nil, "writes go on", err)
	return keys
}

// comeAndGo creates records, and in turn removes most of them, until the context ends: a reader
// that counts them finds now more and now less. The waves become longer and short again, as some readers
// take milliseconds from one count to the next, and others seconds.
func (s *scene) comeAndGo(ctx context.Context, session ports.SessionID) (keys []core.Key, err error) {
	const shortest, doublings = 8, 7
	for n := 0; ctx.Err() == nil; n++ {
		come := shortest << (n % doublings)
		leave := come * 3 / 4
		var wave []ports.Mutation
		for range come {
			rec := record(key("busy", fmt.Sprintf("id-%d-%s", len(keys), session)), session)
			keys, wave = append(keys, rec.Key), append(wave, put(rec))
		}
		for _, m := range wave[:leave] {
			wave = append(wave, remove(removal(&m.Put.Record)))
		}
		for _, m := range wave {
			results, err := applyAll(s.ctx, s.host, []ports.Mutation{m}) // its outcome is to be known
			if err == nil {
				err = results[0].Err
			}
			if err != nil {
				return keys, fmt.Errorf("%s: %w", describe(m), err)
			}
			select {
			case <-time.After(time.Millisecond): // a store in memory would else hold too many
			case <-ctx.Done():
			}
		}
	}
	return keys, nil
}
