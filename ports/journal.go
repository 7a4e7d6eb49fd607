package ports

// journal.go: what a process writes down so that it goes on, after a restart, where it stopped.

import (
	"context"
	"time"

	"github.com/marketprism/prism/core"
)

// Journal remembers beyond the end of a process which sessions it has in the store and what
// it keeps alive under them. It helps a restart to go unseen and nothing else, so nothing here
// fails: what cannot be written is said in a log, and is then not recalled. Package
// adapters/hoststate keeps a Journal in a file. Every method is safe for concurrent use.
type Journal interface {
	// Recall returns what an earlier process left. It stays noted until it is noted otherwise.
	Recall() Recalled
	// Note takes in changes, in order. It does no I/O, so it may be called with a lock held. It
	// keeps what the Notes refer to, which nobody changes any more.
	Note(changes ...Note)
	// Sync returns when everything noted before is safe from the end of the process and of the
	// machine, when that cannot be had, or when ctx ends.
	Sync(ctx context.Context)
}

// Note is one change; exactly one field is set.
type Note struct {
	Epoch    string         // of the store, as it is now
	Opened   *NotedSession  // a session was opened, or is granted another TTL
	Ended    SessionID      // a session was closed, or has ended
	Held     *NotedInstance // the process keeps an instance alive, or its record has changed
	Released core.Key       // the process does not keep an instance alive any more
	Alive    time.Time      // the process lived at this time of this machine's clock
}

// NotedSession is a session of the process in the store.
type NotedSession struct {
	ID    SessionID
	Class time.Duration // the TTL asked for
	TTL   time.Duration // granted
}

// NotedInstance is an instance that the process keeps alive. The record holds a hash of the
// lease and not the lease: a Journal keeps no secrets.
type NotedInstance struct {
	Record Record
	Own    bool // the process registered it for itself, rather than for a client
}

// Recalled is what an earlier process left; the zero value is nothing.
type Recalled struct {
	Epoch     string
	Alive     time.Time
	Sessions  []NotedSession
	Instances []NotedInstance
}
