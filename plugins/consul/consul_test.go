package consul_test

// consul_test.go: the conformance suite over the backend in three ways. Which of them fail
// tells where a fault is: in the backend, on the wire, or in the life of the process.

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/plugins/consul"
	"github.com/marketprism/prism/ports"
)

// binary is the program, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	built, remove, err := ways.Build("./cmd/prism-backend-consul")
	if err == nil {
		err = flag.Set("test.parallel", "12") // the cases wait more than they work; the command line wins
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = built
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		remove()
		os.Exit(code)
	}))
}

// Pinned: a backend that claims less is asked for less.
func TestClaims(t *testing.T) {
	want := ports.Info{
		Name: "consul", Version: "1.0.0",
		Capabilities: ports.Capabilities{Replicated: true, Durable: true, MultiHost: true},
		Limits:       ports.Limits{MaxExpiryDelay: 1e9, MinSessionTTL: 1e9},
	}
	assert.Equal(t, want, consul.Info())
}

func TestConformanceInProcess(t *testing.T) {
	url := os.Getenv("X_CONSUL")
	conformance.Test(t, func(*testing.T) conformance.Harness {
		return ways.InProcess(func(ctx context.Context, namespace string) (ports.Backend, error) {
			return consul.Open(ctx, consul.Options{URL: url, Namespace: namespace})
		})
	})
}
