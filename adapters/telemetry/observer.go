package telemetry

// observer.go: what the core, the plugin host and the HTTP API report.

import (
	"context"
	"strconv"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// Observer returns what counts registrations, discoveries and health checks.
func (m *Metrics) Observer() discovery.Observer {
	return discovery.Observer{Registration: m.registration, Discovery: m.discovery, HealthCheck: m.healthCheck}
}

func (m *Metrics) registration(service, outcome string, took time.Duration) {
	count := m.registrations.add
	if outcome != "ok" {
		count = m.registrations.addKnown // anybody can invent names for what fails
	}
	count(1, service, outcome)
	m.registering.record(context.Background(), took.Seconds(), outcome)
}

func (m *Metrics) discovery(service, operation, outcome string) {
	if outcome != "ok" || operation != "pick" { // what is picked exists, but anybody can list what does not
		m.discoveries.addKnown(1, service, operation, outcome)
		return
	}
	m.discoveries.add(1, service, operation, outcome)
}

func (m *Metrics) healthCheck(in core.Instance, healthy bool, took time.Duration) {
	result := "unhealthy"
	if healthy {
		result = "healthy"
	}
	m.healthChecks.add(1, in.Service, result)
	m.checking.record(context.Background(), took.Seconds(), result)
}

// HTTP counts a request. Route is a pattern of the API, "" for an unknown path.
func (m *Metrics) HTTP(route string, status int, took time.Duration) {
	if route == "" {
		route = "other"
	}
	m.requesting.record(context.Background(), took.Seconds(), route, strconv.Itoa(status))
}

// Event counts an event.
func (m *Metrics) Event(t core.EventType) { m.events.add(1, string(t)) }

// EventsMissed counts events that a subscriber of the host's own was too slow for.
func (m *Metrics) EventsMissed(n int) { m.missed.add(int64(n)) }

// PluginStarted counts a start of the plugin's process, as pluginhost's hook reports it.
func (m *Metrics) PluginStarted(_ int, took time.Duration) {
	m.pluginStarts.add(1)
	m.starting.record(context.Background(), took.Seconds())
}

// PluginEnded counts an end of the plugin's process: "exited", "hung" or "closed".
func (m *Metrics) PluginEnded(_ int, reason string) { m.pluginEnds.add(1, reason) }

// PluginLogDropped counts lines of the plugin's log that were left out.
func (m *Metrics) PluginLogDropped(lines int) { m.droppedLogs.add(int64(lines)) }
