package client

// host.go: what a host says of itself.

import (
	"context"
	"time"
)

// HostStatus describes a host, its backend and its view.
type HostStatus struct {
	Ready         bool          `json:"ready"`
	Reason        string        `json:"reason"` // why it is not ready
	Namespace     string        `json:"namespace"`
	UptimeSeconds float64       `json:"uptime_seconds"`
	Build         BuildStatus   `json:"build"`
	StartedAt     time.Time     `json:"started_at"`
	Backend       BackendStatus `json:"backend"`
	Plugin        *PluginStatus `json:"plugin,omitempty"` // nil when the backend is part of the host's own process
	View          ViewStatus    `json:"view"`
}

// BuildStatus says what program the host is.
type BuildStatus struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

// BackendStatus says what keeps the records.
type BackendStatus struct {
	Name         string          `json:"name"`
	Version      string          `json:"version"`
	Contract     int             `json:"contract"`
	Capabilities map[string]bool `json:"capabilities"`
}

// PluginStatus says what process the backend is.
type PluginStatus struct {
	PID       int       `json:"pid"`
	Path      string    `json:"path"`
	StartedAt time.Time `json:"started_at"`
	Restarts  int       `json:"restarts"`
}

// ViewStatus describes the host's view of the store.
type ViewStatus struct {
	Connected   bool   `json:"connected"`
	Synced      bool   `json:"synced"`
	Stale       bool   `json:"stale"`
	AgeMS       int64  `json:"age_ms"`
	Epoch       string `json:"epoch"`
	Cursor      string `json:"cursor"`
	Services    int    `json:"services"`
	Instances   int    `json:"instances"`
	Held        int    `json:"held"`
	Sessions    int    `json:"sessions"`
	Skipped     int    `json:"skipped"`
	LastFailure string `json:"last_failure"`
}

// Status describes the host that answers.
func (c *Client) Status(ctx context.Context) (s HostStatus, err error) {
	err = c.call(ctx, get("/v1/status", nil), &s)
	return s, err
}

// Ready is nil when a host's store is reachable and its view synced, else core.ErrUnavailable
// with the reason.
func (c *Client) Ready(ctx context.Context) error {
	return c.call(ctx, get("/readyz", nil), nil)
}
