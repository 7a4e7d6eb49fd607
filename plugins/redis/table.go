package redis

// table.go: records as package backendkit reads and writes them: one script loads any number of
// keys, one commits any number of changes.

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Apply implements ports.Records.
func (b *Backend) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if err := b.closing.Enter(ctx); err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	results, err := backendkit.ApplyGuessing(ctx, table{b}, muts)
	if err != nil {
		return nil, b.closing.Or(err)
	}
	return results, nil
}

// Get implements ports.Records.
func (b *Backend) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	if err := b.closing.Enter(ctx); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	found, err := backendkit.Get(ctx, table{b}, keys)
	if err != nil {
		return nil, b.closing.Or(err)
	}
	return found, nil
}

// table implements backendkit.Table.
type table struct{ *Backend }

// Load implements backendkit.Table.
func (t table) Load(ctx context.Context, wanted []backendkit.Wanted) ([]backendkit.Loaded, error) {
	args := []any{len(wanted)}
	for _, w := range wanted {
		args = append(args, field(w.Key))
	}
	sessions := make(map[ports.SessionID]int) // where its answer stands
	for _, w := range wanted {
		if _, asked := sessions[w.Session]; w.Session != "" && !asked {
			sessions[w.Session] = len(sessions)
			args = append(args, string(w.Session))
		}
	}
	r, err := t.run(ctx, loadScript, args...)
	if err != nil {
		return nil, err
	}
	docs, err := r.list(0, 2*len(wanted))
	if err != nil {
		return nil, err
	}
	opened, err := r.list(1, len(sessions))
	if err != nil {
		return nil, err
	}
	loaded := make([]backendkit.Loaded, len(wanted))
	for i, w := range wanted {
		loaded[i] = interpret(r.life, w.Key, asText(docs[2*i]), asText(docs[2*i+1]))
		if w.Session != "" {
			loaded[i].SessionOpen = asInt(opened[sessions[w.Session]]) == 1
		}
	}
	return loaded, nil
}

// unreadable is the version of a document whose revision cannot be read: "x" to the scripts.
const unreadable = math.MaxUint64

// interpret says what stands at a key, by its document.
func interpret(l *life, key core.Key, version, text string) backendkit.Loaded {
	if text == "" && version == "0" {
		return backendkit.Loaded{}
	}
	loaded := backendkit.Loaded{Version: unreadable}
	if n, err := strconv.ParseUint(version, 10, 64); err == nil {
		loaded.Version = n
	}
	doc, err := decode(l, key, text)
	if _, newer := errors.AsType[*backendkit.FormatError](err); newer {
		loaded.Err = err
	}
	if err == nil {
		loaded.Document = doc
	}
	return loaded
}

// decode reads a document with its revision. The error says why it cannot be read.
func decode(l *life, key core.Key, text string) (backendkit.Document, error) {
	doc, err := backendkit.DecodeFor(key, []byte(text))
	if err != nil {
		return backendkit.Document{}, err
	}
	if doc.Revision == 0 {
		return backendkit.Document{}, fmt.Errorf("the stored document of %s is corrupt: it has no revision", key)
	}
	if doc.Record != nil {
		doc.Record.Revision = l.revision(doc.Revision)
	} else {
		doc.Tombstone.Revision = l.revision(doc.Revision)
	}
	return doc, nil
}

// Commit implements backendkit.Table.
func (t table) Commit(ctx context.Context, changes []backendkit.Change) []backendkit.Committed {
	done := make([]backendkit.Committed, len(changes))
	l := t.life.Load()
	var args []any
	var of []int // the index of the change that each eight arguments are of
	for i, c := range changes {
		if was := c.Was; was.Record != nil && was.Record.Revision.Epoch != l.epoch || was.Tombstone != nil && was.Tombstone.Revision.Epoch != l.epoch {
			done[i].Err = backendkit.ErrStale
			continue
		}
		doc, err := backendkit.Encode(c.Document)
		if err != nil {
			done[i].Err = err
			continue
		}
		args = append(args, field(c.Key))
		args = append(args, describe(c)...)
		args = append(args, string(doc), c.ID)
		of = append(of, i)
	}
	if len(of) == 0 {
		return done
	}
	answers, repeated, err := t.commit(ctx, l, args, len(of))
	for at, i := range of {
		if err != nil {
			done[i].Err = err
			continue
		}
		done[i].Revision, done[i].Err = committed(l, changes[i], asText(answers[at]), repeated)
	}
	return done
}

// describe are the arguments between the field and the document of a change.
func describe(c backendkit.Change) []any {
	kind, session, was := "tombstone", ports.SessionID(""), ports.SessionID("")
	if c.Record != nil {
		kind, session = "record", c.Record.Session
	}
	if c.Was.Record != nil {
		was = c.Was.Record.Session
	}
	version := "x"
	if c.Was.Version != unreadable {
		version = strconv.FormatUint(c.Was.Version, 10)
	}
	return []any{kind, version, string(c.Session), string(session), string(was)}
}

func (t table) commit(ctx context.Context, l *life, args []any, n int) (answers []any, repeated bool, err error) {
	r, err := t.call(ctx, l, commitScript, args...)
	if errors.Is(err, errOtherLife) {
		// What was loaded may be of another epoch, whose revisions say nothing in this one.
		if err := t.join(ctx, l); err != nil {
			return nil, false, err
		}
		if r.unknown() {
			return nil, false, errUnknown
		}
		return nil, false, backendkit.ErrStale
	}
	if err != nil {
		return nil, false, t.closing.Or(err)
	}
	answers, err = r.list(0, n)
	return answers, r.repeated, err
}

// errUnknown says that a change may have been made, or not. It must not be decided anew.
var errUnknown = fmt.Errorf("redis: the connection to %s broke amid a write, whose outcome is unknown; read what stands there before it is repeated, and look at the log of the server: %w",
	server, ports.ErrUnavailable)

// committed reads the answer for one change.
func committed(l *life, c backendkit.Change, answer string, repeated bool) (core.Revision, error) {
	switch {
	case answer == "stale" && repeated:
		// Its first sending may have been carried out, and what it wrote been replaced since.
		return core.Revision{}, errUnknown
	case answer == "stale":
		return core.Revision{}, backendkit.ErrStale
	case answer == "gone":
		return core.Revision{}, fmt.Errorf("put %s: session %s ended: %w", c.Key, c.Session, ports.ErrSessionGone)
	}
	n, err := strconv.ParseUint(answer, 10, 64)
	if err != nil {
		return core.Revision{}, strange(answer)
	}
	return l.revision(n), nil
}
