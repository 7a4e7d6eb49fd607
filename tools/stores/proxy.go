package stores

// proxy.go: a proxy for TCP that can part its two sides.

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// Cut is what a Proxy does with connections.
type Cut int

// How a connection fails.
const (
	Joined     Cut = iota // It does not.
	Refused               // Open connections are reset, new ones refused: the server is gone.
	Blackholed            // Connections open and stay open, and nothing passes: the network is gone.
)

// A Proxy hands connections on to one address. It is safe for concurrent use.
type Proxy struct {
	target, address string
	port            int
	ctx             context.Context //nolint:containedctx // The life of the proxy.
	cancel          context.CancelFunc
	group           sync.WaitGroup

	mu       sync.Mutex
	mode     Cut
	closed   bool
	changed  chan struct{} // Closed when mode changes.
	listener net.Listener  // nil while refused.
	open     map[net.Conn]struct{}
}

// NewProxy listens on a free port of loopback.
func NewProxy(target string) (*Proxy, error) {
	p := &Proxy{target: target, changed: make(chan struct{}), open: map[net.Conn]struct{}{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	for attempt := 1; ; attempt++ {
		var err error
		if p.port, err = freePort(); err != nil {
			return nil, err
		}
		p.address = address(p.port)
		if err = p.listen(); err == nil {
			return p, nil
		}
		release(p.port)
		if attempt == 10 {
			return nil, err
		}
	}
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.address }

// Set changes what it does with connections, the open ones too.
func (p *Proxy) Set(mode Cut) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	if mode == p.mode {
		return nil
	}
	if mode == Refused {
		if err := p.dropLocked(); err != nil {
			return err
		}
	} else if p.listener == nil {
		if err := p.listenLocked(); err != nil {
			return err
		}
	}
	p.mode = mode
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// Close ends all connections and waits until nothing runs.
func (p *Proxy) Close() error {
	p.cancel()
	p.mu.Lock()
	p.closed = true
	err := p.dropLocked()
	p.mu.Unlock()
	p.group.Wait()
	release(p.port)
	return err
}

func (p *Proxy) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listenLocked()
}

func (p *Proxy) listenLocked() error {
	var config net.ListenConfig
	l, err := config.Listen(p.ctx, "tcp", p.address)
	if err != nil {
		return fmt.Errorf("proxy for %s: %w", p.target, err)
	}
	p.listener = l
	p.group.Go(func() { p.accept(l) })
	return nil
}

// dropLocked resets all connections and stops listening.
func (p *Proxy) dropLocked() error {
	var err error
	if p.listener != nil {
		stopListening(p.listener)
		err = p.listener.Close()
		p.listener = nil
	}
	for conn := range p.open {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // Sends a reset; without it a close, which is as good.
		}
		_ = conn.Close() // The two sides close each other; the second close is an error.
		delete(p.open, conn)
	}
	return err
}

func (p *Proxy) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // Closed by Set or Close.
		}
		if p.track(conn) {
			p.group.Go(func() { p.serve(conn) })
		}
	}
}

// track remembers an open connection, or closes it where there is to be none.
func (p *Proxy) track(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.mode == Refused {
		_ = conn.Close() // Came while all others were closed.
		return false
	}
	p.open[conn] = struct{}{}
	return true
}

func (p *Proxy) untrack(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, conn)
	_ = conn.Close() // May be closed already.
}

// serve connects to the target, once the proxy passes anything, and copies both ways.
func (p *Proxy) serve(client net.Conn) {
	defer p.untrack(client)
	if p.wait(client) != nil {
		return
	}
	var dialer net.Dialer
	target, err := dialer.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		return
	}
	if !p.track(target) {
		return
	}
	defer p.untrack(target)
	var copies sync.WaitGroup
	copies.Go(func() { p.pass(target, client) })
	copies.Go(func() { p.pass(client, target) })
	copies.Wait()
}

// pass copies one way and closes both ends when that way ends.
func (p *Proxy) pass(to, from net.Conn) {
	defer func() {
		_ = to.Close() // Both may have been closed by the other way or by a cut.
		_ = from.Close()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if p.wait(to) != nil { // The end of a connection does not pass either.
			return
		}
		if _, failed := to.Write(buffer[:n]); failed != nil || err != nil {
			return
		}
	}
}

// wait returns when the proxy passes what it gets, or an error when conn is none of its any more.
func (p *Proxy) wait(conn net.Conn) error {
	for {
		p.mu.Lock()
		mode, changed := p.mode, p.changed
		_, ours := p.open[conn]
		p.mu.Unlock()
		switch {
		case !ours:
			return net.ErrClosed
		case mode == Joined:
			return nil
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
	}
}
