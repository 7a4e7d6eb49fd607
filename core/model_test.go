package core_test

// model_test.go: statuses, filters, leases, revisions: the small rules of the model.

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/marketprism/prism/core"
)

func TestShownStatus(t *testing.T) {
	for _, o := range []core.Observed{core.ObservedUnknown, core.ObservedHealthy, core.ObservedUnhealthy} {
		assert.Equal(t, core.Status(o), core.State{Declared: core.DeclaredUp, Observed: o}.Status())
		for _, d := range []core.Declared{core.DeclaredStarting, core.DeclaredMaintenance, core.DeclaredStopping} {
			assert.Equal(t, core.Status(d), core.State{Declared: d, Observed: o}.Status())
		}
	}
}

func TestFilter(t *testing.T) {
	in, _, err := core.Spec{
		Service: "svc", Host: "127.0.0.1", Port: 8080, Tags: []string{"gateway"}, Zone: "a", Version: "1.2.0",
		Metadata: core.MustMetadata(map[string]any{"role": "collector", "limit": 10, "exchanges": []string{"okx"}}),
	}.Resolve(core.StandardDefaults())
	require.NoError(t, err)
	for source, want := range map[string]bool{
		``:                                    true,
		`version == "1.2.0"`:                  true,
		`"gateway" in tags`:                   true,
		`"public" in tags`:                    false,
		`metadata.role == "collector"`:        true,
		`metadata.limit > 9`:                  true,
		`"okx" in metadata.exchanges`:         true,
		`metadata.nothing.at.all == 1`:        false,
		`metadata.role > 3`:                   false,
		`zone in ["a","b"] && weight > 10`:    true,
		`status == "unknown"`:                 true,
		`port == 8080 && host matches "^127"`: true,

		`port in 1024..65535 && weight not in 0..9`:                            true,
		`metadata.limit in 1..10 && metadata.limit + 1 == 11`:                  true,
		`lower(metadata.role) startsWith "coll" && hasPrefix(zone, "a")`:       true,
		`len(filter(keys(metadata), # != "role")) == 2 && get(tags, 9) == nil`: true,

		`any(metadata.exchanges, # in tags || any(tags, # == "gateway")) && all(tags, # != "")`: true,
	} {
		f, err := core.ParseFilter(source)
		require.NoError(t, err, source)
		assert.Equal(t, want, f.Match(in), source)
	}
}

func TestBadFilters(t *testing.T) {
	for source, says := range map[string]string{
		`version ==`:                    "does not parse",
		`nosuch == 1`:                   "nosuch",
		`"text"`:                        "bool",
		strings.Repeat("true && ", 900): "at most",
		// Elsewhere than in the last place, and by other names.
		`let a = split("1,2", ","); all(a, {any(a, {all(a, {# != ""})})})`:  "two deep",
		`count(tags, {len(map(tags, {filter(tags, {# != ""})})) > 1}) == 1`: "two deep",
		// Where the optimiser puts a body out of sight.
		`true in map(filter(tags, {true}), {any(tags, {any(tags, {any(tags, {any(tags, {# == "x"})})})})})`: "two deep",
		// What makes something large of a short expression.
		`let r = 1..999998; any(r, {any(r, {# == -1})})`:        "a filter has no ",
		`any(1..999998, {any(1..999998, {# == -1})})`:           "a filter has no range",
		`any(tags, metadata.n in 1..999998)`:                    "a filter has no range",
		`"x" in split(repeat(",", 999998), ",")`:                "a filter has no repeat;",
		`len(uniq(1..999998)) == 1`:                             "a filter has no ",
		`len(uniq(tags)) == 1`:                                  "a filter has no uniq;",
		`let a = replace(id, "", id); replace(a, "", a) == "x"`: "a filter has no replace;",
		`let a = [1, 1]; let b = [a, a]; [b, b] == [b, a]`:      "a filter has no let;",
		`id + id == "x"`:                                        "a filter has no + but of numbers;",
		`any([metadata.a + metadata.a], # + # == "x")`:          "a filter has no + but of numbers;",
		`string([metadata, metadata]) == ""`:                    "a filter has no string;",
		`any(tags, {sum(map(tags, len(#))) > 1})`:               "a filter has no ",
		`::now().Year() == 2020`:                                "a filter has no now;",
	} {
		_, err := core.ParseFilter(source)
		require.Error(t, err, source)
		assert.ErrorContains(t, err, says, source)
	}
}

func TestLeaseTokens(t *testing.T) {
	l := core.NewLease(core.Key{Service: "svc", ID: "a.b-c"}, core.Generation{}.Next())
	got, err := core.ParseLease(l.Token())
	require.NoError(t, err)
	assert.Equal(t, l, got)
	assert.True(t, got.Matches(l.Hash()))
	assert.False(t, core.NewLease(l.Key, l.Generation).Matches(l.Hash()))
	assert.NotContains(t, fmt.Sprint(l), l.Token(), "a lease that reaches a log gives nothing away")
	for _, bad := range []string{"", "x", "prism1.", "prism1.!!", l.Token()[:20], l.Token() + "x"} {
		_, err := core.ParseLease(bad)
		require.ErrorIs(t, err, core.ErrInvalid, bad)
	}
}

func TestGenerationsAndRevisions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := core.Generation{N: rapid.Uint64Range(0, 1<<40).Draw(t, "n")}.Next()
		back, err := core.ParseGeneration(g.String())
		require.NoError(t, err)
		assert.Equal(t, g, back)
		assert.Positive(t, g.Next().Compare(g))
		r := core.Revision{Epoch: rapid.StringMatching(`[a-zA-Z0-9.-]{1,20}`).Draw(t, "epoch"), N: rapid.Uint64().Draw(t, "rev")}
		rb, err := core.ParseRevision(r.String())
		require.NoError(t, err)
		assert.Equal(t, r, rb)
	})
	assert.True(t, core.Revision{Epoch: "b", N: 1}.After(core.Revision{Epoch: "a", N: 9}))
	_, err := core.ParseRevision("nonsense")
	require.ErrorIs(t, err, core.ErrInvalid)
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"30": 30 * time.Second, "0.5": 500 * time.Millisecond, "1m30s": 90 * time.Second} {
		d, err := core.ParseDuration("x", text)
		require.NoError(t, err)
		assert.Equal(t, want, d)
	}
	for _, bad := range []string{"", "soon", "NaN", "1e30", "Inf"} {
		_, err := core.ParseDuration("x", bad)
		require.ErrorIs(t, err, core.ErrInvalid, bad)
	}
}

func TestStatusSets(t *testing.T) {
	c := core.Check{ExpectStatus: "200-299,418"}
	assert.True(t, c.PassesStatus(204))
	assert.True(t, c.PassesStatus(418))
	assert.False(t, c.PassesStatus(404))
	assert.True(t, core.Check{}.PassesStatus(200))
	assert.False(t, core.Check{}.PassesStatus(404))
}

// Fault 26: a read handed out the internal list.
func TestFault26WhatIsHandedOutIsACopy(t *testing.T) {
	own := []string{"b", "a", "b"}
	tags, err := core.NewTags(own...)
	require.NoError(t, err)
	assert.Equal(t, []string{"b", "a", "b"}, own)
	own[0], own[1] = "changed", "too"
	tags.Strings()[0] = "changed"
	assert.Equal(t, []string{"a", "b"}, tags.Strings())
	assert.True(t, tags.Has("b"))
}

func TestKindsOfErrors(t *testing.T) {
	assert.Equal(t, "ok", core.Kind(nil))
	assert.Equal(t, "invalid_argument", core.Kind(core.Invalid("a", "b", "c")))
	assert.Equal(t, "too_large", core.Kind(core.TooLarge("a", "b", "c")))
	assert.Equal(t, "lease_superseded", core.Kind(core.HeartbeatSuperseded.Err()))
	assert.Equal(t, "canceled", core.Kind(fmt.Errorf("wait: %w", context.Canceled)), "a caller that went away is no failure of ours")
	assert.Equal(t, "deadline_exceeded", core.Kind(context.DeadlineExceeded))
	assert.Equal(t, "unavailable", core.Kind(fmt.Errorf("%w: %w", core.ErrUnavailable, context.DeadlineExceeded)))
	assert.Equal(t, "unknown", core.Kind(assert.AnError))
}
