package pluginhost_test

// main_test.go: the test binary plays every part: the tests, the plugins that they launch
// (plugin_test.go), and hosts that are killed (orphan_test.go). Each plugin and descendant
// holds a connection to the tests, so that its end is an event.

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Variables that tell the test binary which part to play.
const (
	varRole   = "PRISM_TEST_ROLE"   // what a plugin does before it serves; "host" is no plugin
	varTether = "PRISM_TEST_TETHER" // where to report
)

// patience is how long tests wait for what must happen.
const patience = 30 * time.Second

var tether *tetherServer

func TestMain(m *testing.M) {
	if role := os.Getenv(varRole); role != "" {
		play(role)
		return
	}
	var err error
	if tether, err = listenTether(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if left := tether.left(); len(left) > 0 && code == 0 {
		fmt.Fprintln(os.Stderr, "processes are left:", left)
		code = 1
	}
	tether.close()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// tied is a process that reported itself; gone is closed when it has ended.
type tied struct {
	pid  int
	role string
	gone chan struct{}
}

func (p *tied) alive() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

func (p *tied) mustEnd(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-p.gone:
	case <-time.After(within):
		require.FailNow(t, "process still lives", "%s %d, after %s", p.role, p.pid, within)
	}
}

// tetherServer knows the processes of this run.
type tetherServer struct {
	listener net.Listener
	handlers sync.WaitGroup
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each report
	all      []*tied
}

func listenTether() (*tetherServer, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &tetherServer{listener: l, changed: make(chan struct{})}
	s.handlers.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.handlers.Go(func() { s.hold(conn) })
		}
	})
	return s, nil
}

func (s *tetherServer) hold(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewScanner(conn)
	if !in.Scan() {
		return
	}
	pid, role, _ := strings.Cut(in.Text(), " ")
	p := &tied{role: role, gone: make(chan struct{})}
	p.pid, _ = strconv.Atoi(pid)
	s.mu.Lock()
	s.all = append(s.all, p)
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	_, _ = fmt.Fprintln(conn, "ok")
	for in.Scan() { // Nothing is sent; this waits for the end.
	}
	close(p.gone)
}

// find waits for a process of which the predicate is true.
func (s *tetherServer) find(t *testing.T, what string, is func(*tied) bool) *tied {
	t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		changed := s.changed
		for _, p := range s.all {
			if is(p) {
				s.mu.Unlock()
				return p
			}
		}
		s.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			require.FailNow(t, "no such process", what)
		}
	}
}

func (s *tetherServer) byPID(t *testing.T, pid int) *tied {
	t.Helper()
	return s.find(t, strconv.Itoa(pid), func(p *tied) bool { return p.pid == pid && p.alive() })
}

// left lists the processes that have not ended, after giving them time.
func (s *tetherServer) left() []string {
	deadline := time.After(5 * time.Second)
	s.mu.Lock()
	all := s.all
	s.mu.Unlock()
	var out []string
	for _, p := range all {
		select {
		case <-p.gone:
		case <-deadline:
			deadline = time.After(0)
			out = append(out, fmt.Sprintf("%s %d", p.role, p.pid))
		}
	}
	return out
}

func (s *tetherServer) close() {
	_ = s.listener.Close()
	s.handlers.Wait()
}

// report ties this process to the tests for the rest of its life.
func report(role string) {
	addr := os.Getenv(varTether)
	if addr == "" {
		return
	}
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
	if err == nil {
		_, err = fmt.Fprintf(conn, "%d %s\n", os.Getpid(), role)
	}
	if err == nil {
		_, err = conn.Read(make([]byte, 3)) // The tests know.
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "no tether:", err)
		quit(1)
	}
	tie = conn
}

var tie net.Conn // Kept from the garbage collector, whose finalizer would close it.
