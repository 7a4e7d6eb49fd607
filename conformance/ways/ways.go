// Package ways runs one backend in the three ways in which Prism meets it, each as a
// conformance.Harness: in process, over the wire in memory, and as the launched binary under
// the real supervisor. Which of them fail tells where a fault is: in the backend, on the
// wire, or in the life of the process.
//
// In a test of the backend's own module:
//
//	var binary string
//
//	func TestMain(m *testing.M) {
//		built, remove, err := ways.Build("./cmd/prism-backend-toy")
//		if err != nil {
//			fmt.Fprintln(os.Stderr, err)
//			os.Exit(1)
//		}
//		binary = built
//		goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { remove(); os.Exit(code) }))
//	}
//
//	func options(namespace string) map[string]any { return map[string]any{"url": url, "namespace": namespace} }
//
//	func TestConformanceOverTheWire(t *testing.T) {
//		conformance.Test(t, func(*testing.T) conformance.Harness { return ways.OverTheWire(toy.Plugin(), options) })
//	}
//
//	func TestConformanceLaunched(t *testing.T) {
//		conformance.Test(t, func(t *testing.T) conformance.Harness {
//			return ways.WithFaults(ways.Launched(t.TempDir(), binary, "toy", options), ways.BreakServers(myServers, myLeader))
//		})
//	}
//
// WithFaults and WithVandal add the means to break the store, or to write into it past the
// backend. A backend whose store is its own process has them from LaunchedStore.
package ways

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/ports"
)

// Options are those with which a backend is opened on a namespace. The option "namespace" is
// added where it is not among them; nil stands for that alone. It is called concurrently.
type Options func(namespace string) map[string]any

// document is the JSON object that Open takes.
func (o Options) document(namespace string) (json.RawMessage, error) {
	all := map[string]any{ports.OptionNamespace: namespace}
	if o != nil {
		maps.Copy(all, o(namespace))
	}
	doc, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("the options of namespace %s: %w", namespace, err)
	}
	return doc, nil
}

// InProcess opens the backend as an embedding program does.
func InProcess(open func(ctx context.Context, namespace string) (ports.Backend, error)) conformance.Harness {
	return inProcess(open)
}

type inProcess func(ctx context.Context, namespace string) (ports.Backend, error)

// Open implements conformance.Harness.
func (open inProcess) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	return open(ctx, namespace)
}
