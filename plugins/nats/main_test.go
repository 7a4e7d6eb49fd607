package nats_test

// main_test.go: the program and the servers that all tests share.

import (
	"context"
	"testing"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/tools/stores"
)

// binary is the program, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	backendtest.Main(m, "./cmd/prism-backend-nats", &binary, 8, func() error {
		_, err := stores.Binary(context.Background(), stores.NATS) // its time is no test's
		return err
	})
}
