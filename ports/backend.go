// Package ports holds what Prism's core needs from outside: a Backend that keeps records
// (implemented by the memory, Consul, etcd, NATS and Redis plugins and by anybody's own),
// and a Prober that checks health.
//
// A backend keeps records; the core owns rules, retries, caches, fan-out and events. Package
// conformance asks a backend for what the contract below says, case by case; docs/conformance.md
// says what no case can show. To write a backend, read plugins/memory first, then
// docs/write-a-backend.md.
package ports

import (
	"context"
	"time"

	"github.com/marketprism/prism/core"
)

// Backend is one namespace of one store.
//
// Every method is safe for concurrent use, returns promptly when its context ends (with the
// context's error or ErrUnavailable; a write then has an unknown outcome), keeps no reference
// to its arguments after it returned, and returns ErrClosed after Close. What it returns is
// the caller's, to keep and to change. Errors wrap exactly one sentinel of this package. What
// one call of Apply acknowledged, every later call from any process sees (read-after-write),
// except through Watch, which follows in order.
type Backend interface {
	Sessions
	Records

	// Info describes the backend. It is static and does no I/O.
	Info() Info
	// Health asks the store whether it can be reached and written to, now. nil or an error of
	// one sentence that names the option to look at; never a secret.
	Health(ctx context.Context) error
	// Close ends every watch with ErrClosed and frees what the backend holds here. Sessions and
	// records stay in the store. A second Close does nothing and returns nil.
	Close() error
}

// Sessions is the part of a Backend that tells living processes from dead ones.
//
// A session is the life of one process in the store. Every record belongs to one. A session
// that is not renewed within its granted TTL ends, never before that time by the store's own
// clock and at most Info.Limits.MaxExpiryDelay after it; its records then go, with the cause
// "expired". Wall clocks of hosts are never compared. A change of the store's leader may grant
// one more TTL, and so may, without the capability ExpiryUnattended, the first process to open the
// store after a time without any. A tombstone that the end of a session leaves has no Actor and no Reason.
type Sessions interface {
	// OpenSession opens a session under an id that the caller chose at random. It grants
	// spec.TTL or more. Opening an id that is open succeeds, renews it and answers with what is
	// granted. An id that ended is refused for EndedSessionLife at the least: ErrSessionGone.
	// Errors: ErrInvalid, ErrSessionGone, ErrPermission, ErrUnavailable.
	OpenSession(ctx context.Context, spec SessionSpec) (Session, error)
	// RenewSessions starts the TTL of each session anew. Results are in the order of the ids;
	// a session that has ended, or never was, is Gone. Idempotent. The error is for the whole
	// call: ErrUnavailable, ErrPermission, ErrInvalid (more than MaxBatch ids).
	RenewSessions(ctx context.Context, ids []SessionID) ([]RenewResult, error)
	// CloseSession ends a session; its records go with the cause "deregistered". When it
	// returns nil, no later Get or list from any process finds one. Closing a session that is
	// gone succeeds. Errors: ErrPermission, ErrUnavailable.
	CloseSession(ctx context.Context, id SessionID) error
}

// Records is the part of a Backend that keeps records.
type Records interface {
	// Apply carries out mutations. Each item is atomic and has a result of its own, in order;
	// the batch is not atomic, but items for one key are carried out in order. At most MaxBatch
	// items and MaxBatchBytes: ErrInvalid or ErrTooLarge for the whole call, and nothing is
	// done. An item that can never succeed (nothing or too much set, an invalid key, a record without
	// a generation, a body above MaxBodyBytes) is ErrInvalid or ErrTooLarge for itself, and the others
	// are done. An error for the whole call other than those two means that the outcome of every item
	// is unknown; the caller looks again with Get.
	Apply(ctx context.Context, muts []Mutation) ([]MutationResult, error)
	// Get reads keys linearizably: it sees every write acknowledged, by any process, before the
	// call. Results are in the order of the keys. At most MaxBatch keys.
	Get(ctx context.Context, keys []core.Key) ([]Found, error)
	// Watch streams records, see Watcher. It returns once the store has accepted the request. The
	// context bounds that alone; the stream lasts until the Watcher's Close.
	// Errors: ErrInvalid, ErrPermission, ErrUnavailable.
	Watch(ctx context.Context, req WatchRequest) (Watcher, error)
}

// Sizes that every backend takes, and no caller exceeds.
const (
	MaxBatch      = 256      // items of one Apply, Get or RenewSessions
	MaxBatchBytes = 1 << 20  // bodies of one Apply
	MaxBodyBytes  = 96 << 10 // body of one record
	// MaxBookmarkGap is the longest time between two messages of a following Watch.
	MaxBookmarkGap = 2 * time.Second
	// TombstoneLife is how long a deletion is remembered at the least.
	TombstoneLife = time.Hour
	// EndedSessionLife is how long the id of an ended session is refused at the least. Ids are
	// random and opened once, so only a call that was on its way when its session ended could
	// bring one back, and none is a day late; to remember for ever would grow without bound.
	EndedSessionLife = 24 * time.Hour
)

// SessionID names a session: 1–128 of a-z A-Z 0-9 . _ -, the first a letter or digit.
type SessionID string

// SessionSpec asks for a session.
type SessionSpec struct {
	ID  SessionID
	TTL time.Duration // ≥ 1 s
	// Host and Program say who holds it, for people who look into the store.
	Host    string
	Program string
	// OldestFormat and NewestFormat are the record bodies that the process reads. A body of a
	// breaking format is written only when all open sessions read it.
	OldestFormat, NewestFormat int
}

// Session is an open session.
type Session struct {
	ID  SessionID
	TTL time.Duration // granted, ≥ asked
}

// RenewResult answers for one session.
type RenewResult struct {
	ID   SessionID
	Gone bool
	TTL  time.Duration // granted; 0 when gone
}

// Record is one instance in the store. Body is opaque to backends (JSON, at most
// MaxBodyBytes; core.DecodeBody reads it); so is LeaseHash.
type Record struct {
	Key        core.Key
	Generation core.Generation
	Session    SessionID
	Owner      string
	LeaseHash  string
	State      core.State
	Body       []byte
	// RegisteredAt and UpdatedAt are for people; no backend compares them. They and State.ChangedAt
	// are kept to the millisecond at the least.
	RegisteredAt, UpdatedAt time.Time
	// Revision is set by the backend: it strictly increases with each write of the record, is
	// one number space with watch cursors, and is ignored in a Put.
	Revision core.Revision
}

// Tombstone is what a deletion leaves for TombstoneLife.
type Tombstone struct {
	Key        core.Key
	Generation core.Generation
	Session    SessionID
	Cause      core.Cause
	Actor      string
	Reason     string
	Revision   core.Revision
}

// Found is the answer for one key: a record, else a tombstone, else neither.
type Found struct {
	Record    *Record
	Tombstone *Tombstone
}

// Mutation is one of Put, SetState and Delete; exactly one is set.
type Mutation struct {
	Put      *Put
	SetState *SetState
	Delete   *Delete
}

// Key returns the key that the mutation is about.
func (m Mutation) Key() core.Key {
	switch {
	case m.Put != nil:
		return m.Put.Record.Key
	case m.SetState != nil:
		return m.SetState.Key
	case m.Delete != nil:
		return m.Delete.Key
	}
	return core.Key{}
}

// Put writes a record under Record.Session, by compare-and-set on the generation:
//
//   - Replaces is zero: the key must be absent, else ErrConflict.
//   - Replaces is another generation than Record.Generation: a take-over; the stored
//     generation must be Replaces.
//   - Replaces is Record.Generation: an update, or an adoption by another session; the stored
//     generation must be Replaces, and the stored State stays as it is. Absent: ErrConflict.
//   - Replaces is not Record.Generation, and the stored generation and session are both the
//     Put's own: a retry of a Put that was carried out; done, the same answer, no change.
//   - IfRevision, when not zero, must be the stored revision, else ErrConflict.
//   - Where the key is absent and has a tombstone, MayCreate decides, else ErrConflict: neither
//     an operator's deletion nor a newer registration's is undone by an owner cut off.
//   - The session must be open, else ErrSessionGone, and nothing is written; a Put that races
//     with the end of its session may instead be gone within MaxExpiryDelay.
//
// Where operator maintenance is stored (State.ByOperator and declared maintenance), a
// take-over keeps the declared part of the stored State; all else of State is the Put's.
type Put struct {
	Record     Record
	Replaces   core.Generation
	IfRevision core.Revision
}

// SetState changes the declared part, the observed part, or both, of a record of the given
// generation, and nothing else. Absent: ErrNotFound. Another generation, another session when
// Session is set, or another revision when IfRevision is set: ErrConflict.
type SetState struct {
	Key        core.Key
	Generation core.Generation
	Session    SessionID
	Declared   *DeclaredState
	Observed   *ObservedState
	At         time.Time // becomes State.ChangedAt when a fact changes
	IfRevision core.Revision
}

// DeclaredState is the declared part of a core.State.
type DeclaredState struct {
	Declared   core.Declared
	ByOperator bool
	Actor      string
	Reason     string
}

// ObservedState is the observed part of a core.State.
type ObservedState struct {
	Observed core.Observed
	Streak   int
}

// Apply returns the state after the change; every backend calls it, so that all agree.
func (s SetState) Apply(st core.State) core.State {
	before := st
	if d := s.Declared; d != nil {
		st.Declared, st.ByOperator, st.Actor, st.Reason = d.Declared, d.ByOperator, d.Actor, d.Reason
	}
	if o := s.Observed; o != nil {
		st.Observed, st.Streak = o.Observed, o.Streak
	}
	if !st.Same(before) {
		st.ChangedAt = s.At
	}
	return st
}

// Delete removes a record of the given generation and atomically leaves a tombstone. Absent:
// ErrNotFound, which is success on a retry. Another generation, another session when Session
// is set, or another revision when IfRevision is set: ErrConflict. The cause "expired" is the
// end of a client's ttl, which the host that holds the instance keeps.
type Delete struct {
	Key        core.Key
	Generation core.Generation
	Session    SessionID
	Cause      core.Cause
	Actor      string
	Reason     string
	IfRevision core.Revision
}

// MutationResult answers for one mutation. Err is nil, or wraps ErrInvalid, ErrNotFound,
// ErrConflict, ErrSessionGone, ErrContention (nothing was done, try again), ErrTooLarge,
// ErrPermission, ErrUnsupported (what stands there is of a newer format, and goes only with its session) or
// ErrUnavailable (unknown outcome). With nil, Record is the record as stored (for Delete, as it
// was removed, at the revision of its removal). With ErrConflict, Record or Tombstone is what
// stands in the way; with ErrNotFound, Tombstone where there is one.
type MutationResult struct {
	Record    *Record
	Tombstone *Tombstone
	Err       error
}

// MayCreate reports whether a generation may create a record where a tombstone (nil: none)
// stands: one above the tombstone's may, and the tombstone's own where it merely expired;
// every backend calls it, so that all agree.
func MayCreate(gen core.Generation, t *Tombstone) bool {
	if t == nil {
		return true
	}
	c := gen.Compare(t.Generation)
	return c > 0 || c == 0 && t.Cause.Expires()
}

// StateAfterPut is the State that a Put stores over what stood there (nil: nothing); every
// backend calls it, so that all agree.
func StateAfterPut(p Put, stored *Record) core.State {
	st := p.Record.State
	switch {
	case stored == nil:
	case p.Replaces == p.Record.Generation:
		st = stored.State
	case stored.State.Drained():
		st.Declared, st.ByOperator = stored.State.Declared, true
		st.Actor, st.Reason, st.ChangedAt = stored.State.Actor, stored.State.Reason, stored.State.ChangedAt
	}
	return st
}
