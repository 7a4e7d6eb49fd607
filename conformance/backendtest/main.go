package backendtest

// main.go: what a package of tests needs before the first and after the last.

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/marketprism/prism/conformance/ways"
)

// Main is the TestMain of a backend: it builds the program of pkg ("./cmd/prism-backend-toy") into
// *binary, prepares what the tests share so that its time is no test's, runs the tests, removes
// the program and asks that no goroutine is left. So many tests run at the same time, as cases
// wait more than they work; the command line wins. It ends the process.
func Main(m *testing.M, pkg string, binary *string, parallel int, prepare ...func() error) {
	built, remove, err := ways.Build(pkg)
	for _, do := range append(prepare, func() error { return flag.Set("test.parallel", fmt.Sprint(parallel)) }) {
		if err == nil {
			err = do()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:revive // It is what TestMain does.
	}
	*binary = built
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		remove()
		os.Exit(code) //nolint:revive // It is what TestMain does.
	}))
}
