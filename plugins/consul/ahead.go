package consul

// ahead.go: reads the records of many services, a few at the same time, in their order.

import (
	"context"
	"sync"

	"github.com/hashicorp/consul/api"
)

// ahead is a reading under way. Its owner calls stop.
type ahead struct {
	answers chan chan answer // in the order of the services
	cancel  context.CancelFunc
	group   sync.WaitGroup
}

type answer struct {
	pairs api.KVPairs
	err   error
}

func readAll(ctx context.Context, b *Backend, services []string) *ahead {
	ctx, cancel := context.WithCancel(ctx)
	a := &ahead{answers: make(chan chan answer, readAhead-1), cancel: cancel}
	a.group.Go(func() {
		defer close(a.answers)
		for _, service := range services {
			one := make(chan answer, 1)
			select {
			case a.answers <- one:
			case <-ctx.Done():
				return
			}
			a.group.Go(func() {
				pairs, err := b.list(ctx, b.keys.records(service))
				one <- answer{pairs, err}
			})
		}
	})
	return a
}

// next returns the records of the next service.
func (a *ahead) next(ctx context.Context) (api.KVPairs, error) {
	select {
	case one, ok := <-a.answers:
		if !ok {
			return nil, ctx.Err()
		}
		got := <-one
		return got.pairs, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *ahead) stop() {
	a.cancel()
	a.group.Wait()
}
