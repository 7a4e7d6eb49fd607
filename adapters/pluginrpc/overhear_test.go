package pluginrpc_test

// overhear_test.go: what goes over a connection besides calls.

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// overhear asks of every connection of these tests that it carries no ping: one with each message,
// as gRPC sends to learn how much the connection bears, would wake both processes for nothing.
func overhear(tb testing.TB, conn net.Conn) net.Conn {
	tb.Helper()
	if conn == nil {
		return nil
	}
	o := &overheard{Conn: conn, sent: frames{skip: len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")}}
	tb.Cleanup(func() {
		assert.Zero(tb, o.sent.pings(), "pings of the host")
		assert.Zero(tb, o.got.pings(), "pings of the plugin")
	})
	return o
}

type overheard struct {
	net.Conn

	sent, got frames
}

func (o *overheard) Read(b []byte) (int, error) {
	n, err := o.Conn.Read(b)
	o.got.take(b[:n])
	return n, err
}

func (o *overheard) Write(b []byte) (int, error) {
	o.sent.take(b)
	return o.Conn.Write(b)
}

// frames counts the PING frames of one direction (RFC 9113, 4.1 and 6.7).
type frames struct {
	mu     sync.Mutex
	skip   int    // bytes until the next header
	header []byte // as far as it came
	found  int
}

func (f *frames) take(b []byte) {
	const headerBytes, typePing, flagAck = 9, 6, 1
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(b) > 0 {
		if f.skip > 0 {
			n := min(f.skip, len(b))
			f.skip, b = f.skip-n, b[n:]
			continue
		}
		n := min(headerBytes-len(f.header), len(b))
		f.header, b = append(f.header, b[:n]...), b[n:]
		if len(f.header) < headerBytes {
			continue
		}
		if f.header[3] == typePing && f.header[4]&flagAck == 0 {
			f.found++
		}
		f.skip = int(binary.BigEndian.Uint32(f.header) >> 8) // the length has three bytes
		f.header = f.header[:0]
	}
}

func (f *frames) pings() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.found
}
