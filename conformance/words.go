package conformance

// words.go: values in the words of a failure message, and how records differ.

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case error:
		return fmt.Sprintf("the error %q", v)
	case []error:
		return fmt.Sprintf("of the kinds %q", v)
	case core.Generation:
		return fmt.Sprintf("generation %q", v)
	case core.Revision:
		return fmt.Sprintf("revision %q", v)
	case *ports.Record:
		if v == nil {
			return "no record"
		}
		return fmt.Sprintf("a record %s (generation %s, session %s, revision %s, %s/%s, body of %d bytes)",
			v.Key, v.Generation, v.Session, v.Revision, v.State.Declared, v.State.Observed, len(v.Body))
	case *ports.Tombstone:
		if v == nil {
			return "no tombstone"
		}
		return fmt.Sprintf("a tombstone of %s (generation %s, session %s, cause %q, actor %q, reason %q, revision %s)",
			v.Key, v.Generation, v.Session, v.Cause, v.Actor, v.Reason, v.Revision)
	case ports.Found:
		return showEither(v.Record, v.Tombstone)
	case ports.MutationResult:
		return fmt.Sprintf("error %v with %s", v.Err, showEither(v.Record, v.Tombstone))
	case ports.WatchEvent:
		return showEvent(v)
	case []ports.WatchEvent:
		const last = 12
		words := make([]string, 0, last)
		for _, ev := range v[max(0, len(v)-last):] {
			words = append(words, showEvent(ev))
		}
		return fmt.Sprintf("%d events, the last of them %s", len(v), strings.Join(words, ", "))
	default:
		return fmt.Sprintf("%+v", v)
	}
}

func showEither(r *ports.Record, t *ports.Tombstone) string {
	switch {
	case r != nil && t != nil:
		return show(r) + " and " + show(t)
	case r != nil:
		return show(r)
	case t != nil:
		return show(t)
	}
	return "neither record nor tombstone"
}

func showEvent(ev ports.WatchEvent) string {
	switch ev.Kind {
	case ports.WatchPut:
		return "put of " + show(ev.Record)
	case ports.WatchDelete:
		return "delete: " + show(ev.Tombstone)
	case ports.WatchSynced, ports.WatchBookmark:
		return fmt.Sprintf("%s %s", ev.Kind, ev.Cursor)
	case ports.WatchReset, ports.WatchSkipped:
	}
	return fmt.Sprintf("%s %s %q", ev.Kind, ev.Key, ev.Reason)
}

func describe(m ports.Mutation) string {
	switch {
	case m.Put != nil:
		p := m.Put
		words := fmt.Sprintf("a Put of %s, generation %s, session %s", p.Record.Key, p.Record.Generation, p.Record.Session)
		if !p.Replaces.IsZero() {
			words += fmt.Sprintf(", replacing %s", p.Replaces)
		}
		if !p.IfRevision.IsZero() {
			words += fmt.Sprintf(", if revision %s", p.IfRevision)
		}
		return words
	case m.SetState != nil:
		return fmt.Sprintf("a SetState of %s, generation %s, session %q, revision %q", m.SetState.Key, m.SetState.Generation, m.SetState.Session, m.SetState.IfRevision)
	case m.Delete != nil:
		return fmt.Sprintf("a Delete of %s, generation %s, session %q, revision %q", m.Delete.Key, m.Delete.Generation, m.Delete.Session, m.Delete.IfRevision)
	}
	return "an empty mutation"
}

// difference names the fields in which two records differ; "" when in none. Times are those
// of people, to the millisecond.
func difference(a, b *ports.Record) string {
	var fields []string
	note := func(same bool, field string) {
		if !same {
			fields = append(fields, field)
		}
	}
	note(a.Key == b.Key, "key")
	note(a.Generation == b.Generation, "generation")
	note(a.Session == b.Session, "session")
	note(a.Owner == b.Owner, "owner")
	note(a.LeaseHash == b.LeaseHash, "lease hash")
	note(bytes.Equal(a.Body, b.Body), "body")
	note(a.RegisteredAt.Equal(b.RegisteredAt), fmt.Sprintf("registered at (%s, %s)", a.RegisteredAt, b.RegisteredAt))
	note(a.UpdatedAt.Equal(b.UpdatedAt), fmt.Sprintf("updated at (%s, %s)", a.UpdatedAt, b.UpdatedAt))
	note(a.Revision == b.Revision, fmt.Sprintf("revision (%s, %s)", a.Revision, b.Revision))
	if diff := stateDifference(a.State, b.State); diff != "" {
		fields = append(fields, diff)
	}
	return strings.Join(fields, ", ")
}

func stateDifference(a, b core.State) string {
	if !a.ChangedAt.Equal(b.ChangedAt) {
		return fmt.Sprintf("state changed at (%s, %s)", a.ChangedAt, b.ChangedAt)
	}
	a.ChangedAt = b.ChangedAt
	if a != b {
		return fmt.Sprintf("state (%+v, %+v)", a, b)
	}
	return ""
}

// asStored is a record as it should be stored by a Put that was answered with revision.
func asStored(rec ports.Record, revision core.Revision) *ports.Record {
	rec.Revision = revision
	return &rec
}

// isEnd reports whether an error is that of an ended context, as the contract words it.
func isEnd(err, contextErr error) bool {
	return errors.Is(err, contextErr) || errors.Is(err, ports.ErrUnavailable)
}
