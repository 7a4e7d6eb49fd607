package stores_test

// proxy_test.go: a proxy passes bytes, refuses, or swallows them.

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/tools/stores"
)

// echo answers what it is sent, until the test ends.
func echo(t *testing.T) (address string) {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // Until the other side closes or resets.
			})
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, l.Close())
		served.Wait()
	})
	return l.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // The test may have closed it.
	return conn
}

// ask sends one byte and waits for it to come back.
func ask(conn net.Conn, wait time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

func TestAProxyParts(t *testing.T) {
	t.Parallel()
	target := echo(t)
	p, err := stores.NewProxy(target)
	require.NoError(t, err)
	conn := dial(t, p.Address())
	require.NoError(t, ask(conn, limit))

	require.NoError(t, p.Set(stores.Blackholed))
	require.ErrorIs(t, ask(conn, 100*time.Millisecond), os.ErrDeadlineExceeded, "nothing passes")
	fresh := dial(t, p.Address())
	require.ErrorIs(t, ask(fresh, 100*time.Millisecond), os.ErrDeadlineExceeded)
	require.NoError(t, p.Set(stores.Joined))
	require.NoError(t, ask(conn, limit), "an open connection goes on")
	require.NoError(t, ask(fresh, limit))

	// As a child has the listener that is just being started.
	listener, ok := p.Listener().(*net.TCPListener)
	require.True(t, ok)
	inherited, err := listener.File()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, inherited.Close()) })
	require.NoError(t, p.Set(stores.Refused))
	require.ErrorIs(t, ask(conn, limit), syscall.ECONNRESET)
	_, err = new(net.Dialer).DialContext(t.Context(), "tcp", p.Address())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, p.Set(stores.Joined))
	last := dial(t, p.Address())
	require.NoError(t, ask(last, limit))
	require.NoError(t, p.Set(stores.Blackholed))

	require.NoError(t, p.Close())
	require.Error(t, ask(last, limit))
	require.ErrorIs(t, p.Set(stores.Joined), net.ErrClosed)
	require.NoError(t, p.Close(), "a second Close does nothing")
}

func TestTheEndOfAConnectionPasses(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	p, err := stores.NewProxy(l.Addr().String())
	require.NoError(t, err)
	defer p.Close()
	client := dial(t, p.Address())
	server, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, server.SetDeadline(time.Now().Add(limit)))
	require.NoError(t, client.Close())
	_, err = server.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, server.Close())
}

func TestAClusterIsCutFromItsClients(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := stores.ForTest(t, stores.Redis, stores.Options{Proxied: true})
	client := newClient(t, c)
	require.NoError(t, client.put(ctx, "k", "v"))
	require.NoError(t, c.Cut(stores.Refused))
	require.ErrorIs(t, client.put(ctx, "k", "v"), syscall.ECONNREFUSED)
	require.NoError(t, c.CutNode(0, stores.Blackholed))
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, client.put(short, "k", "v"), os.ErrDeadlineExceeded)
	require.NoError(t, c.Mend())
	require.NoError(t, client.put(ctx, "k", "v"))

	bare := stores.ForTest(t, stores.Redis, stores.Options{})
	require.ErrorContains(t, bare.Cut(stores.Refused), "Options.Proxied")
}
