package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

func TestEachCommandHelpsWithAnExample(t *testing.T) {
	var visit func(path []string, c *cobra.Command)
	visit = func(path []string, c *cobra.Command) {
		r := invoke(t.Context(), "", append(path, "--help")...)
		assert.Zero(t, r.code, path)
		assert.Empty(t, r.err, path)
		assert.Contains(t, r.out, "Examples:", path)
		assert.NotEmpty(t, c.Short, path)
		assert.Contains(t, c.Example, "prism "+strings.Join(path, " "), "the example shows the command")
		for _, sub := range c.Commands() {
			visit(append(slices.Clip(path), sub.Name()), sub)
		}
	}
	visit(nil, (&app{stdout: io.Discard, stderr: io.Discard}).root())
}

func TestTheVersionIsAFlagToo(t *testing.T) {
	r := invoke(t.Context(), "", "--version")
	assert.Zero(t, r.code, r.err)
	assert.Equal(t, "prism "+programVersion()+"\n", r.out)
}

func TestTheLifeOfAnInstance(t *testing.T) {
	w := newWorld(t)
	lease := w.register("api", "--tag", "public", "--metadata", `{"role":"api","big":9007199254740993}`, "--weight", "50", "--zone", "a")
	const id = "api-127.0.0.1-8081"

	assert.Equal(t, "SERVICE  INSTANCES  HEALTHY\napi      1          1\n", w.must("services").out)
	assert.Contains(t, w.must("instances", "api").out, id+"  http://127.0.0.1:8081  healthy  50")
	assert.Contains(t, w.must("instances", "api", "--tag", "public", "--filter", `zone == "a"`, "--status", "healthy").out, id)
	assert.NotContains(t, w.must("instances", "api", "--no-tag", "public").out, id)
	assert.Equal(t, "http://127.0.0.1:8081\n", w.must("pick", "api", "--url").out)
	assert.Contains(t, w.must("pick", "api", "--explain").out, id+"  100.0 %  yes")
	assert.Contains(t, w.must("wait", "api").out, id)
	assert.Contains(t, w.must("heartbeat", lease).out, "api/"+id+"  renewed")
	assert.Contains(t, w.must("check", "api", id).out, "healthy")
	assert.Contains(t, w.must("status").out, "ready")

	assert.Contains(t, w.must("drain", "api", id, "--reason", "disk swap").out, "maintenance")
	r := w.prism("pick", "api", "--url")
	assert.Equal(t, exitUnavailable, r.code)
	assert.Contains(t, r.err, "prism pick SERVICE --explain")
	assert.Contains(t, w.must("pick", "api", "--explain").out, "no")
	assert.Contains(t, w.must("restore", "api", id).out, "healthy")
	assert.Contains(t, w.must("set-status", "api", id, "unhealthy").out, "unhealthy")

	events := w.must("events", "--service", "api").out
	for _, want := range []string{"service_registered", "healthy → maintenance", "disk swap", "maintenance → healthy", "operator"} {
		assert.Contains(t, events, want)
	}
	w.must("deregister", "api", id, "--lease", lease, "--reason", "done")
	assert.Equal(t, "SERVICE  INSTANCES  HEALTHY\n", w.must("services").out)
	r = w.prism("heartbeat", lease)
	assert.Equal(t, exitFailed, r.code)
	assert.Contains(t, r.out, "deregistered")
}

// A host whose store is away answers all the same, and is no host that cannot be reached.
func TestAHostThatIsNotReadyIsShown(t *testing.T) {
	w := newWorldOver(t, away{})
	r := w.prism("status")
	assert.Equal(t, exitUnavailable, r.code)
	assert.Contains(t, r.out, "ready            no, ")
	assert.Contains(t, r.out, "the store has gone fishing")
	assert.Regexp(t, `^prism: the host is not ready: .*the store has gone fishing.*; its log says more\n$`, r.err)

	r = w.prism("status", "-o", "json")
	assert.Equal(t, exitUnavailable, r.code)
	var shown struct {
		Ready  *bool  `json:"ready"`
		Reason string `json:"reason"`
	}
	r.decode(t, &shown)
	require.NotNil(t, shown.Ready)
	assert.False(t, *shown.Ready)
	assert.Contains(t, shown.Reason, "the store has gone fishing")

	r = w.prism("services")
	assert.Equal(t, exitUnavailable, r.code, "not an empty list")
	assert.Empty(t, r.out)
	assert.Contains(t, r.err, "the store has gone fishing")
	r = w.prism("register", "api", "--port", "1")
	assert.Equal(t, exitUnavailable, r.code)
	assert.NotContains(t, r.err, "cannot reach a host")
}

func TestAListThatMayBeOldSaysSo(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: io.Discard, output: formatTable}
	require.NoError(t, a.showInstances(nil, freshnessOf(discovery.Freshness{Stale: true, Age: 7848 * time.Millisecond})))
	assert.Contains(t, out.String(), "This may be out of date: the host has had no word from its store for 7.848s.")
	out.Reset()
	require.NoError(t, a.showInstances(nil, freshnessOf(discovery.Freshness{Age: time.Second})))
	assert.NotContains(t, out.String(), "out of date")
}

// During an outage a host answers heartbeats: calm is what is called for, not another address.
func TestHeartbeatsInAnOutage(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: io.Discard, output: formatTable}
	err := a.advise(a.showBeats([]discovery.HeartbeatResult{{Lease: "x", State: core.HeartbeatUnavailable}}))
	require.ErrorIs(t, err, core.ErrUnavailable)
	assert.Equal(t, exitUnavailable, exitCode(err))
	assert.Contains(t, err.Error(), "try again")
	assert.NotContains(t, err.Error(), "cannot reach")
	assert.Contains(t, out.String(), "unavailable")
}

func TestOutputForPrograms(t *testing.T) {
	w := newWorld(t)
	w.register("api", "--metadata", `{"big":9007199254740993,"yes":"no","deep":{"a":[1,{}]}}`, "--tag", "b,a")
	var fromJSON struct {
		Instances []core.Instance `json:"instances"`
		Stale     *bool           `json:"stale"`
		AgeMS     *int            `json:"age_ms"`
	}
	r := w.must("instances", "api", "-o", "json")
	r.decode(t, &fromJSON)
	require.Len(t, fromJSON.Instances, 1)
	require.NotNil(t, fromJSON.Stale)
	require.NotNil(t, fromJSON.AgeMS)
	assert.Contains(t, r.out, "9007199254740993", "integers above 2^53 stay exact")

	r = w.must("instances", "api", "-o", "yaml")
	assert.Contains(t, r.out, "big: 9007199254740993")
	assert.Contains(t, r.out, `"yes": "no"`, "what YAML would take for something else is quoted")
	assert.NotContains(t, r.out, "{\"")
	var fromYAML map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(r.out), &fromYAML))
	assert.Contains(t, fromYAML, "instances")

	for _, args := range [][]string{
		{"services"},
		{"instances", "api"},
		{"pick", "api"},
		{"pick", "api", "--explain"},
		{"wait", "api"},
		{"events"},
		{"status"},
		{"version"},
		{"check", "api", "api-127.0.0.1-8081"},
		{"drain", "api", "api-127.0.0.1-8081"},
		{"plugin", "list"},
		{"config", "show"},
		{"instances", "nobody"},
	} {
		var object map[string]any
		r := w.must(append(args, "-o", "json")...)
		require.NoError(t, json.Unmarshal([]byte(r.out), &object), args)
		assert.NotContains(t, w.must(args...).out, "\x1b", "no colour off a terminal: %v", args)
		assert.NotContains(t, r.out, ": null", args)
	}
}

func TestWordsOfOthersDoNotActOnTheTerminal(t *testing.T) {
	w := newWorld(t)
	w.register("api")
	_, err := w.client.SetStatus(t.Context(), setStatus("api", "api-127.0.0.1-8081", "maintenance", "\x1b]0;owned\x07"))
	require.NoError(t, err)
	assert.NotContains(t, w.must("instances", "api").out+w.must("events").out, "\x1b")
}

// lines hands over what a command writes, line by line.
type lines struct{ found chan string }

func (l lines) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		l.found <- strings.TrimSpace(string(line))
	}
	return len(b), nil
}

// follow runs a command until the returned function ends it; its lines come through a channel.
func (w *world) follow(args ...string) (found chan string, end func() int) {
	ctx, cancel := context.WithCancel(w.t.Context())
	l := lines{found: make(chan string, 100)}
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, append(args, "--address", w.address), strings.NewReader(""), l, io.Discard)
	}()
	return l.found, func() int {
		cancel()
		return <-done
	}
}

func TestWatchFollows(t *testing.T) {
	w := newWorld(t)
	w.register("before")
	found, end := w.follow("watch")
	assert.Equal(t, "reset", <-found)
	assert.Equal(t, "put     before/before-127.0.0.1-8081  http://127.0.0.1:8081  healthy", <-found)
	assert.Equal(t, "synced", <-found)
	w.register("after")
	assert.Contains(t, <-found, "put     after/")
	w.must("deregister", "after", "after-127.0.0.1-8081")
	assert.Equal(t, "delete  after/after-127.0.0.1-8081", <-found)
	assert.Equal(t, exitDone, end())
}

func TestEventsFollow(t *testing.T) {
	w := newWorld(t)
	w.register("api")
	var past struct {
		NextCursor string `json:"next_cursor"`
	}
	w.must("events", "-o", "json").decode(t, &past)
	w.must("drain", "api", "api-127.0.0.1-8081")
	found, end := w.follow("events", "--follow", "--after", past.NextCursor, "-o", "json")
	var e core.Event
	require.NoError(t, json.Unmarshal([]byte(<-found), &e))
	assert.Equal(t, core.EventStatusChanged, e.Type)
	w.must("restore", "api", "api-127.0.0.1-8081")
	require.NoError(t, json.Unmarshal([]byte(<-found), &e))
	assert.Equal(t, core.StatusHealthy, e.NewStatus)
	assert.Equal(t, exitDone, end())
}

func TestRegisterReadsFilesAndStandardInput(t *testing.T) {
	w := newWorld(t)
	r := invoke(t.Context(), `{"host":"::1","port":9090,"tags":["x"],"check":{"type":"none"}}`, "register", "api", "--from", "-", "--port", "9091", "--address", w.address)
	require.Zero(t, r.code, r.err)
	assert.Contains(t, w.must("instances", "api").out, "http://[::1]:9091", "flags win over the file")
	r = invoke(t.Context(), `{"host":"127.0.0.1","port":9090,"check":{"type":"tcp","fall":5,"interval":7}}`,
		"register", "checked", "--from", "-", "--check-interval", "9", "--address", w.address)
	require.Zero(t, r.code, r.err)
	checked := w.must("instances", "checked", "-o", "json").out
	for _, part := range []string{`"type": "tcp"`, `"fall": 5`, `"interval": 9`} {
		assert.Contains(t, checked, part, "flags win over the file, one by one")
	}
	lease := w.register("other")
	r = invoke(t.Context(), lease+"\n"+lease+"\n", "heartbeat", "-", "--address", w.address)
	require.Zero(t, r.code, r.err)
	assert.Equal(t, 2, strings.Count(r.out, "renewed"))
	assert.NotContains(t, r.out, lease, "a lease is a secret")
	r = invoke(t.Context(), strings.Repeat(lease+"\n", 1001), "heartbeat", "-", "--address", w.address)
	require.Zero(t, r.code, r.err)
	assert.Equal(t, 1001, strings.Count(r.out, "renewed"), "more than a host takes at a time")
}

func TestAddressesAreTriedInTurn(t *testing.T) {
	w := newWorld(t)
	r := invoke(t.Context(), "", "services", "--address", "http://127.0.0.1:1, "+w.address)
	assert.Zero(t, r.code, r.err)
	t.Setenv(envAddress, w.address)
	assert.Zero(t, invoke(t.Context(), "", "services").code)
}
