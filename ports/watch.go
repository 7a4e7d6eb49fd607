package ports

// watch.go: the stream of records that a backend feeds the core's view with.

import (
	"context"

	"github.com/marketprism/prism/core"
)

// WatchRequest says what to watch.
type WatchRequest struct {
	// Services limits the stream to these names; nil means all.
	Services []string
	// Cursor resumes after a revision that an earlier watch gave. Zero begins with a snapshot.
	Cursor core.Revision
	// Follow goes on after the snapshot. Without it the stream is a linearizable list: Reset,
	// records, Synced, then io.EOF.
	Follow bool
}

// Watcher is a stream of WatchEvents.
//
// Without a cursor: Reset, every record as Put, Synced, then changes. With a cursor that can
// be resumed: the changes after it, then Synced, then further changes. A cursor that cannot
// be resumed gives Reset and a snapshot in the same stream, never an error, never a silent
// gap; so do a slow reader, the store's loss of history, and a new epoch.
//
// Per record, revisions strictly increase and nothing at or below the cursor repeats. Fast
// intermediate states may merge; final states and deletions always arrive, in the order of
// their revisions per record. A Bookmark follows at least every MaxBookmarkGap: a proof from
// the store that everything up to its cursor was sent.
type Watcher interface {
	// Next blocks for the next event. It is called by one goroutine. After an error the watcher
	// is dead: ErrUnavailable (watch again with the last cursor), ErrClosed, io.EOF (end of a
	// list), or the context's error.
	Next(ctx context.Context) (WatchEvent, error)
	// Close frees the stream and makes a blocked Next return. It may be called concurrently
	// with Next and more than once.
	Close() error
}

// WatchKind says what a WatchEvent is.
type WatchKind int

// The kinds of WatchEvent.
const (
	// WatchReset: forget the cursor; a full snapshot follows up to Synced. Reason says why; no
	// other field is set.
	WatchReset WatchKind = iota + 1
	// WatchPut: Record was written.
	WatchPut
	// WatchDelete: Tombstone says what was removed and why. When the cause fell into a gap it is
	// "unknown".
	WatchDelete
	// WatchSynced: everything up to Cursor was sent.
	WatchSynced
	// WatchBookmark: the same, while following.
	WatchBookmark
	// WatchSkipped: a record that cannot be read was left out. Key and Reason say which and why.
	WatchSkipped
)

// String names the kind.
func (k WatchKind) String() string {
	switch k {
	case WatchReset:
		return "reset"
	case WatchPut:
		return "put"
	case WatchDelete:
		return "delete"
	case WatchSynced:
		return "synced"
	case WatchBookmark:
		return "bookmark"
	case WatchSkipped:
		return "skipped"
	}
	return "unknown"
}

// WatchEvent is one message of a Watcher; Kind says which fields are set.
type WatchEvent struct {
	Kind      WatchKind
	Record    *Record
	Tombstone *Tombstone
	Cursor    core.Revision
	Key       core.Key
	Reason    string
}
