package httpapi

// watch.go: following the instances themselves: a snapshot, then changes.

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/marketprism/prism/core/discovery"
)

type watchInput struct {
	Service []string `query:"service,explode" nullable:"false" doc:"Only these services; all when left out."`
}

// The payloads of a watch.
type (
	watchPut struct {
		Instance shown `json:"instance" doc:"As it is now."`
	}
	watchDelete struct {
		Service  string `json:"service"`
		ID       string `json:"id"`
		Instance shown  `json:"instance" doc:"As it was last seen."`
	}
	watchReset  struct{}
	watchSynced struct{}
)

func (a *API) addWatch() {
	add(a, huma.Operation{
		OperationID: "watchInstances", Method: http.MethodGet, Path: "/v1/watch", Tags: []string{tagEvents},
		Summary: "Follow the instances of services",
		Description: "An event stream: reset, a put for each instance, synced; then changes. A reset later on means that a new snapshot follows: " +
			"what it does not hold is gone. So a stream that broke is opened again without a cursor. Changes of one instance are never missed, repeated or out of order, " +
			"though fast ones may merge. A quiet stream carries a comment every 15 seconds.",
		Responses: map[string]*huma.Response{"200": {Content: map[string]*huma.MediaType{
			eventStream: a.streamed("Instances as they change.",
				payload{[]any{"reset"}, "Forget what you know: a snapshot follows up to synced.", watchReset{}},
				payload{[]any{"put"}, "An instance is there or has changed.", watchPut{}},
				payload{[]any{"delete"}, "An instance is gone.", watchDelete{}},
				payload{[]any{"synced"}, "The snapshot is complete; changes follow.", watchSynced{}}),
		}}},
	}, nil, a.watch)
}

func (a *API) watch(_ context.Context, in *watchInput) (*huma.StreamResponse, error) {
	w, err := a.client.Watch(in.Service...)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer w.Close()
		a.follow(hctx, "", func(ctx context.Context, s *stream) error { return feedWatch(ctx, s, w) })
	}}, nil
}

func feedWatch(ctx context.Context, s *stream, w *discovery.Watch) error {
	snapshot := false // within one, what is sent is flushed at its end
	for {
		item, err := next(ctx, s, w.Next)
		if err != nil {
			return err
		}
		var payload any
		switch item.Kind {
		case discovery.WatchReset:
			snapshot, payload = true, watchReset{}
		case discovery.WatchPut:
			payload = watchPut{Instance: shown{item.Instance}}
		case discovery.WatchDelete:
			payload = watchDelete{Service: item.Key.Service, ID: item.Key.ID, Instance: shown{item.Instance}}
		case discovery.WatchSynced:
			snapshot, payload = false, watchSynced{}
		}
		if err := s.send(string(item.Kind), "", payload, !snapshot); err != nil {
			return err
		}
	}
}
