package redis_test

// main_test.go: the program and the servers that all tests share.

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/tools/stores"
)

// binary is the program, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	built, remove, err := ways.Build("./cmd/prism-backend-redis")
	if err == nil {
		_, err = stores.Binary(context.Background(), stores.Redis) // says how to install it
	}
	if err == nil {
		err = flag.Set("test.parallel", "8") // the cases wait more than they work; the command line wins
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
