package conformance_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

// harness opens the backend that is shown to conform; put yours here.
type harness struct{}

func (harness) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	return memory.Open(ctx, memory.Options{Namespace: namespace})
}

func ExampleTest() {
	_ = func(t *testing.T) {
		t.Helper()
		conformance.Test(t, func(*testing.T) conformance.Harness { return harness{} })
	}
}

func ExampleRun() {
	cases := conformance.Cases()[:2]
	report := conformance.Run(context.Background(), cases, harness{}, nil)
	for _, r := range report.Results {
		fmt.Println(r.ID, r.Outcome)
	}
	// Output:
	// info/static passed
	// info/health passed
}
