package backendkit

// closing.go: what the operations of a backend must know of its Close.

import (
	"context"
	"fmt"
	"sync"

	"github.com/marketprism/prism/ports"
)

// Closing says whether a backend was closed. It is safe for concurrent use.
type Closing struct {
	name  string
	once  sync.Once
	begun chan struct{} // closed by Close
}

// NewClosing is of a backend that is open; errors call it by its name.
func NewClosing(name string) *Closing {
	return &Closing{name: name, begun: make(chan struct{})}
}

// Close ends what waits for Begun and refuses operations from now on; then it calls end, which
// frees what the backend holds. Only the first call does so; others return when that one has.
func (c *Closing) Close(end func()) {
	c.once.Do(func() {
		close(c.begun)
		end()
	})
}

// Begun is closed as Close begins.
func (c *Closing) Begun() <-chan struct{} { return c.begun }

// Err wraps ports.ErrClosed from Close on; before, it is nil.
func (c *Closing) Err() error {
	select {
	case <-c.begun:
		return fmt.Errorf("the %s backend is %w", c.name, ports.ErrClosed)
	default:
		return nil
	}
}

// Enter refuses an operation whose context has ended, or that comes after Close.
func (c *Closing) Enter(ctx context.Context) error {
	if err := c.Err(); err != nil {
		return err
	}
	return ctx.Err()
}

// Or is an error of an operation, unless that was cut short by Close.
func (c *Closing) Or(err error) error {
	if closed := c.Err(); closed != nil {
		return closed
	}
	return err
}
