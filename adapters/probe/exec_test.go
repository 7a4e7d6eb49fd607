package probe_test

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
)

// command is an instance that is checked by a command that TestMain plays.
func command(args ...string) core.Instance {
	return core.Instance{Check: core.Check{
		Type: core.CheckExec, Timeout: 30 * time.Second, Command: append([]string{os.Args[0]}, args...),
	}}
}

func TestExec(t *testing.T) {
	r := check(t, command("play:pass", "--password=s3cret"))
	assert.True(t, r.Healthy)
	assert.Regexp(t, `^probe\.test(\.exe)? passed in .* ms: disk ok`, r.Detail)
	assert.NotContains(t, r.Detail, "s3cret")

	r = check(t, command("play:fail", "--password=s3cret"))
	assert.False(t, r.Healthy)
	assert.Regexp(t, `^probe\.test(\.exe)? failed with exit status 3 in .* ms: disk full of logs \[31m`, r.Detail)
	assert.NotContains(t, r.Detail, "s3cret")

	in := command()
	in.Check.Command = []string{"no-such-program-anywhere"}
	r = check(t, in)
	assert.False(t, r.Healthy)
	assert.Contains(t, r.Detail, "no-such-program-anywhere cannot be run: ")

	in.Check.Command = nil
	r = check(t, in)
	assert.False(t, r.Healthy)
	assert.Contains(t, r.Detail, "check.command is empty")
}

func TestExecGetsNoSecretsOfTheHost(t *testing.T) {
	t.Setenv("CONSUL_HTTP_TOKEN", "s3cret")
	r := check(t, command("play:env"))
	assert.True(t, r.Healthy)
	assert.Regexp(t, `path=. token=\[\]`, r.Detail)
}

func TestExecIsKilledWithItsChildren(t *testing.T) {
	held := make(chan net.Conn, 1)
	address := listen(t, "127.0.0.1:0", func(conn net.Conn) { held <- conn })
	in := command("play:parent", address)
	in.Check.Timeout = 3 * time.Second // for two programs to start in
	begun := time.Now()
	r := check(t, in)
	assert.False(t, r.Healthy)
	assert.Regexp(t, `did not end within 3s and was killed$`, r.Detail)
	assert.Less(t, time.Since(begun), 20*time.Second)

	var conn net.Conn
	select {
	case conn = <-held:
	default:
		require.Fail(t, "the child had not started within the timeout")
	}
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	_, err := conn.Read(make([]byte, 1))
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the child lives on")
	require.Error(t, err)
	_ = conn.Close()
}
