package redis

// sessions.go: a session is a deadline by the server's clock in a sorted set. Scripts end those
// that are due before they do anything else, so nobody sees one that should have ended.

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// about is what is stored of a session beside its deadline.
type about struct {
	V            int    `json:"v"`
	TTL          int64  `json:"ttl_ms"`
	Host         string `json:"host,omitempty"`
	Program      string `json:"program,omitempty"`
	OpenedAt     string `json:"opened_at"` // for people
	OldestFormat int    `json:"oldest_format,omitempty"`
	NewestFormat int    `json:"newest_format,omitempty"`
}

// OpenSession implements ports.Sessions.
func (b *Backend) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	if err := backendkit.CheckSession(spec); err != nil {
		return ports.Session{}, fmt.Errorf("open a session: %w", err)
	}
	ttl := (spec.TTL + time.Millisecond - 1).Milliseconds()
	doc, err := json.Marshal(about{
		V: 1, TTL: ttl, Host: spec.Host, Program: spec.Program, OpenedAt: core.FormatTime(time.Now()),
		OldestFormat: spec.OldestFormat, NewestFormat: spec.NewestFormat,
	})
	if err != nil {
		return ports.Session{}, fmt.Errorf("open a session: %w", err)
	}
	granted, err := b.session(ctx, 1, "open", string(spec.ID), ttl, string(doc))
	if err == nil && granted[0] == 0 {
		err = fmt.Errorf("it ended: %w", ports.ErrSessionGone)
	}
	if err != nil {
		return ports.Session{}, fmt.Errorf("open session %s: %w", spec.ID, err)
	}
	return ports.Session{ID: spec.ID, TTL: granted[0]}, nil
}

// RenewSessions implements ports.Sessions.
func (b *Backend) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	if err := backendkit.CheckBatch("sessions", len(ids)); err != nil {
		return nil, fmt.Errorf("renew sessions: %w", err)
	}
	args := []any{"renew"}
	for _, id := range ids {
		args = append(args, string(id))
	}
	granted, err := b.session(ctx, len(ids), args...)
	if err != nil {
		return nil, fmt.Errorf("renew sessions: %w", err)
	}
	results := make([]ports.RenewResult, len(ids))
	for i, id := range ids {
		results[i] = ports.RenewResult{ID: id, TTL: granted[i], Gone: granted[i] == 0}
	}
	return results, nil
}

// CloseSession implements ports.Sessions. From the first script on no Put under the session
// succeeds; it returns when a script has found nothing left to remove.
func (b *Backend) CloseSession(ctx context.Context, id ports.SessionID) error {
	if _, err := b.session(ctx, 0, "close", string(id)); err != nil {
		return fmt.Errorf("close session %s: %w", id, err)
	}
	return nil
}

// session calls the script of sessions and returns the TTL granted to each.
func (b *Backend) session(ctx context.Context, n int, args ...any) ([]time.Duration, error) {
	if err := b.closing.Enter(ctx); err != nil {
		return nil, err
	}
	r, err := b.run(ctx, sessionScript, args...)
	if err != nil {
		return nil, b.closing.Or(err)
	}
	answers, err := r.list(0, n)
	if err != nil {
		return nil, err
	}
	granted := make([]time.Duration, n)
	for i := range granted {
		granted[i] = time.Duration(asInt(answers[i])) * time.Millisecond
	}
	return granted, nil
}
