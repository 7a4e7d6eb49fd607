package nats_test

// relay_test.go: a relay between a client and its server that loses single messages, such as the
// acknowledgement of a write, or holds them until something else has happened.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/tools/stores"
)

// passing is a message on its way.
type passing struct {
	sent    bool // by the client
	subject string
	reply   string
	payload string // with its headers
}

// relayed is the URL of a relay to the store's server. Pass says of each message whether it goes on; those of one
// direction of a connection wait for it.
func relayed(t *testing.T, store *stores.Cluster, pass func(m passing) bool) string {
	t.Helper()
	return "nats://" + backendtest.InPlaceOf(t, func(client net.Conn) {
		server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", store.Addresses()[0])
		if err != nil {
			return // the server is gone
		}
		var both sync.WaitGroup
		for _, way := range []struct {
			sent     bool
			from, to net.Conn
		}{{true, client, server}, {false, server, client}} {
			both.Go(func() {
				defer func() { _, _ = client.Close(), server.Close() }() // each way ends the other
				assert.NoError(t, relay(way.to, bufio.NewReader(way.from), way.sent, pass))
			})
		}
		both.Wait()
	})
}

// relay copies one direction of a connection, line by line as NATS speaks.
func relay(to io.Writer, from *bufio.Reader, sent bool, pass func(m passing) bool) error {
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			return nil //nolint:nilerr // It is the end of the connection.
		}
		m, size, err := announced(line, sent)
		if err != nil {
			return err
		}
		if size > 0 {
			payload := make([]byte, size)
			if _, err := io.ReadFull(from, payload); err != nil {
				return nil //nolint:nilerr // It is the end of the connection.
			}
			m.payload = string(payload)
			if !pass(m) {
				continue
			}
		}
		if _, err := io.WriteString(to, line+m.payload); err != nil {
			return nil //nolint:nilerr // It is the end of the connection.
		}
	}
}

// announced reads the line before a message, and how long that is with its end; 0 where none follows.
func announced(line string, sent bool) (m passing, size int, err error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return m, 0, nil
	}
	var sizes int
	switch strings.ToUpper(words[0]) {
	case "PUB", "MSG":
		sizes = 1
	case "HPUB", "HMSG": // that of the headers comes first
		sizes = 2
	default:
		return m, 0, nil
	}
	if size, err = strconv.Atoi(words[len(words)-1]); err != nil {
		return m, 0, fmt.Errorf("%q: %w", line, err)
	}
	addresses := words[1 : len(words)-sizes]
	m = passing{sent: sent, subject: addresses[0]}
	if !sent { // the subscription is between them
		addresses = addresses[1:]
	}
	if len(addresses) > 1 {
		m.reply = addresses[1]
	}
	return m, size + len("\r\n"), nil
}
