//go:build unix

package e2e

// consul_test.go: why Consul refuses to serve. It has no read-only replicas, and no version that
// is too old by its number: what it lacks shows when it is asked for.

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/tools/stores"
)

// consulRules are those that the README of the backend lists.
const consulRules = `
key_prefix "prism/" { policy = "write" }
node_prefix "prism-prism-" { policy = "write" }
service_prefix "" { policy = "write" }
`

const consulSecret = "11111111-2222-3333-4444-555555555555"

// consulTroubles are those of one Consul whose token may do what the README lists.
var consulTroubles = map[string]func(t *testing.T) trouble{
	"permission": func(t *testing.T) trouble {
		t.Helper()
		on, of := consulFor(t)
		of.exits, of.words = true, []string{"the token of backend_config.token lacks", `give it the rule key_prefix "prism/" { policy = "write" }`}
		of.begin = func(t *testing.T) {
			t.Helper()
			on.setRules(t, `key_prefix "prism/" { policy = "read" }`)
		}
		of.mend = func(t *testing.T) {
			t.Helper()
			on.setRules(t, consulRules)
		}
		return of
	},
	"token": func(t *testing.T) trouble {
		t.Helper()
		on, of := consulFor(t)
		of.exits, of.words = true, []string{"consul does not know the token", "look at backend_config.token"}
		of.begin = func(t *testing.T) {
			t.Helper()
			require.NoError(t, on.Call(t.Context(), http.MethodDelete, "/v1/acl/token/"+consulAccessor, nil, nil))
		}
		of.mend = func(t *testing.T) {
			t.Helper()
			on.addToken(t)
		}
		return of
	},
}

// consulRefusals are Consul servers that no host can use.
var consulRefusals = map[string]func(t *testing.T) trouble{
	"foreign": func(t *testing.T) trouble {
		t.Helper()
		on, of := consulFor(t)
		require.NoError(t, on.Call(t.Context(), http.MethodPut, "/v1/kv/prism/settings/colour", "blue", nil))
		of.words = []string{"prism/settings/", "backend_config.namespace"}
		return of
	},
}

const consulAccessor = "66666666-7777-8888-9999-000000000000"

// aConsul is one that has a token for Prism.
type aConsul struct {
	*stores.Cluster

	policy string // its id
}

func (c aConsul) setRules(t *testing.T, rules string) {
	t.Helper()
	require.NoError(t, c.Call(t.Context(), http.MethodPut, "/v1/acl/policy/"+c.policy, fields{"Name": "prism", "Rules": rules}, nil))
}

func (c aConsul) addToken(t *testing.T) {
	t.Helper()
	require.NoError(t, c.Call(t.Context(), http.MethodPut, "/v1/acl/token", fields{
		"AccessorID": consulAccessor, "SecretID": consulSecret, "Policies": []fields{{"ID": c.policy}},
	}, nil))
}

// consulFor starts a Consul and gives its token what it needs.
func consulFor(t *testing.T) (aConsul, trouble) {
	t.Helper()
	c := aConsul{Cluster: stores.ForTest(t, stores.Consul, stores.Options{Auth: stores.Token, Fast: true})}
	var policy struct{ ID string }
	require.NoError(t, c.Call(t.Context(), http.MethodPut, "/v1/acl/policy", fields{"Name": "prism", "Rules": consulRules}, &policy))
	c.policy = policy.ID
	c.addToken(t)
	return c, trouble{
		options: []string{"url", c.URL(), "token", consulSecret},
		secrets: []string{consulSecret, c.Credentials.Token},
	}
}
