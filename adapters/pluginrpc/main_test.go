package pluginrpc_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/marketprism/prism/adapters/pluginrpc"
)

// envPlay makes the test binary play a plugin instead of running tests; its value says which.
const envPlay = "PLUGINRPC_TEST_PLAY"

func TestMain(m *testing.M) {
	if play := os.Getenv(envPlay); play != "" {
		pluginrpc.Serve(played(play))
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
