package stores_test

// killed_test.go: servers end with the process that started them, however that ended.

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/tools/stores"
)

// childVariable makes the test binary start a store and wait, and names the folder for it.
const childVariable = "PRISM_TEST_STORES_DIR"

// startAndWait plays a program that uses stores and is killed.
func startAndWait() int {
	for _, kind := range []stores.Kind{stores.Etcd, stores.Redis} {
		c, err := stores.Start(context.Background(), kind, stores.Options{Fast: true, Dir: os.Getenv(childVariable)})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(c.Addresses()[0])
	}
	fmt.Println("started")
	select {}
}

func TestServersEndWithWhoeverStartedThem(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), childVariable+"="+t.TempDir())
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	var addresses []string
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "started"; {
		addresses = append(addresses, strings.TrimSpace(lines.Text()))
	}
	require.Len(t, addresses, 2)
	for _, a := range addresses {
		require.True(t, answers(t, a))
	}
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	for _, a := range addresses {
		require.Eventually(t, func() bool { return !answers(t, a) }, limit, 10*time.Millisecond, "a server outlived its starter")
	}
}
