package consul

// errors_internal_test.go: what Consul refuses without saying what to do.

import (
	"net/url"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/ports"
)

func TestErrorsNameTheOption(t *testing.T) {
	t.Parallel()
	b := &Backend{way: &transport{urls: []*url.URL{{Scheme: "http", Host: "127.0.0.1:8500"}}}}
	backendtest.Said(t, b.refusal(&statusError{code: 500, body: "Raft leader not found\n in server lookup mapping"}), ports.ErrUnavailable,
		"consul", "Raft leader not found in server lookup mapping", "http://127.0.0.1:8500", "backend_config.url", "look at what its servers log")
	backendtest.Said(t, b.broken(api.TxnErrors{{What: "something\nnew"}}), ports.ErrUnavailable,
		"consul", "something new", "http://127.0.0.1:8500", "backend_config.url", "look at what its servers log")
	backendtest.Said(t, b.broken(nil), ports.ErrUnavailable, "no reason given", "backend_config.url")
	backendtest.Said(t, b.broken(api.TxnErrors{{What: "unknown KV operation: get-or-empty"}}), ports.ErrUnsupported,
		"backend_config.url", "use 1.15 or later")

	stale := &planned{}
	failed := make(map[*planned]error)
	(&transaction{b: b, added: []*planned{stale}, of: []reason{{}}}).blame(&api.TxnError{What: "something new"}, failed, nil)
	backendtest.Said(t, failed[stale], ports.ErrUnavailable, "something new", "backend_config.url", "look at what its servers log")
	assert.Len(t, failed, 1)
}
