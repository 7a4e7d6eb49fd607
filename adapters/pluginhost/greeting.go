package pluginhost

// greeting.go: finds go-plugin's handshake in what a plugin writes to standard output. A
// library that prints a banner there must not cost the plugin its start.

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// greetingForm is CORE|APP|NETWORK|ADDRESS|PROTOCOL…, also after a text without a line's end.
var greetingForm = regexp.MustCompile(`1\|\d+\|(?:unix|tcp)\|.*$`)

// greeting is a reader that waits for the handshake's line, gives it and ends. What comes
// before and after is not for go-plugin.
type greeting struct {
	found  chan struct{} // closed when there is something to read
	once   sync.Once
	line   string
	unread []byte
}

// offer takes the line if it is the first handshake.
func (g *greeting) offer(line []byte) bool {
	at := greetingForm.FindIndex(line)
	if at == nil {
		return false
	}
	taken := false
	g.once.Do(func() {
		taken = true
		g.line = string(line[at[0]:])
		g.unread = append(bytes.Clone(line[at[0]:]), '\n')
		close(g.found)
	})
	return taken
}

// end says that nothing more comes.
func (g *greeting) end() { g.once.Do(func() { close(g.found) }) }

// Read implements io.Reader, for one goroutine.
func (g *greeting) Read(p []byte) (int, error) {
	<-g.found
	if len(g.unread) == 0 {
		return 0, io.EOF
	}
	n := copy(p, g.unread)
	g.unread = g.unread[n:]
	return n, nil
}

// contract returns the version of the contract in the handshake, and the protocol; ok is
// false before there is one.
func (g *greeting) contract() (version int, protocol string, ok bool) {
	select {
	case <-g.found:
	default:
		return 0, "", false
	}
	parts := strings.Split(strings.TrimSpace(g.line), "|")
	if len(parts) < 4 {
		return 0, "", false
	}
	version, err := strconv.Atoi(parts[1])
	if err != nil {
		return 0, "", false
	}
	protocol = "netrpc" // What go-plugin assumes of old plugins.
	if len(parts) > 4 {
		protocol = parts[4]
	}
	return version, protocol, true
}
