// Package conformance shows that a backend keeps the contract of package ports, case by case.
// Whoever writes a backend runs it; whoever judges one reads its report.
//
// In a test of the backend's own module, against a store that the test starts:
//
//	type harness struct{ url string }
//
//	func (h harness) Open(ctx context.Context, namespace string) (ports.Backend, error) {
//		return mystore.Open(ctx, mystore.Options{URL: h.url, Namespace: namespace})
//	}
//
//	func TestConformance(t *testing.T) {
//		conformance.Test(t, func(t *testing.T) conformance.Harness { return harness{startStore(t)} })
//	}
//
// Package conformance/ways has harnesses that run a backend over the wire and as the launched
// binary. A harness that can also break its store implements Faults, one that can write into it
// past the backend Vandal; without them, the cases that need them are reported as not run. A
// backend that is a process may be Mortal. Run does the same outside of tests, for programs that
// print a report.
//
// What cases choose at random comes from a seed, which failures name: EnvSeed (in tests) or
// WithSeed repeats the choices. What the moment chooses, as who is faster, they do not.
//
// Every case opens a namespace of its own, so that cases run at the same time on one store
// and leave nothing in each other's way. Capabilities (ports.Info) never excuse a backend
// from a case: they choose what it asserts, so pin the expected set in a test of your own.
// Time is measured with a monotonic clock, and only where the contract is about time.
package conformance
