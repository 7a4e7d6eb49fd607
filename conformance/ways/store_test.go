package ways_test

// store_test.go: faults and damage, as servers and documents see them.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/core"
)

// servers write down what is done to them.
type servers struct{ done []string }

func (s *servers) note(what string) error {
	s.done = append(s.done, what)
	return nil
}

func (s *servers) Stop(context.Context) error  { return s.note("stop") }
func (s *servers) Start(context.Context) error { return s.note("start") }
func (s *servers) Pause() error                { return s.note("pause") }
func (s *servers) Resume() error               { return s.note("resume") }
func (s *servers) Sever() error                { return s.note("sever") }
func (s *servers) Mend() error                 { return s.note("mend") }
func (s *servers) Wipe(context.Context) error  { return s.note("wipe") }
func (s *servers) KillNode(i int) error        { return s.note(fmt.Sprint("kill ", i)) }

func (s *servers) StartNode(_ context.Context, i int) error { return s.note(fmt.Sprint("start ", i)) }

func TestEveryFaultIsMended(t *testing.T) {
	second := func(context.Context) (int, error) { return 2, nil }
	for _, tt := range []struct {
		fault  conformance.Fault
		leader func(context.Context) (int, error)
		want   []string
	}{
		{conformance.FaultStop, second, []string{"stop", "start"}},
		{conformance.FaultPause, second, []string{"pause", "resume"}},
		{conformance.FaultCut, second, []string{"sever", "mend"}},
		{conformance.FaultWipe, second, []string{"wipe"}},
		{conformance.FaultLeader, second, []string{"kill 2", "start 2"}},
		{conformance.FaultLeader, nil, []string{"stop", "start"}},
	} {
		s := &servers{}
		faults := ways.BreakServers(s, tt.leader)
		assert.True(t, faults.CanInflict(tt.fault))
		require.NoError(t, faults.Inflict(t.Context(), tt.fault), tt.fault)
		require.NoError(t, faults.Mend(t.Context()), tt.fault)
		require.NoError(t, faults.Mend(t.Context()), "nothing is broken")
		assert.Equal(t, tt.want, s.done, tt.fault)
	}
	s := &servers{}
	require.ErrorContains(t, ways.BreakServers(s, nil).Inflict(t.Context(), "flood"), `"flood" is not known`)
	none := errors.New("no leader")
	require.ErrorIs(t, ways.BreakServers(s, func(context.Context) (int, error) { return 0, none }).Inflict(t.Context(), conformance.FaultLeader), none)
	assert.Empty(t, s.done)
}

// documents is a store of one namespace.
type documents map[core.Key][]byte

func (d documents) Read(_ context.Context, _ string, k core.Key) ([]byte, error) {
	if doc, ok := d[k]; ok {
		return doc, nil
	}
	return nil, errors.New("nothing stands there")
}

func (d documents) Write(_ context.Context, _ string, k core.Key, document []byte) error {
	d[k] = document
	return nil
}

func TestDocumentsAreDamaged(t *testing.T) {
	k := core.Key{Service: "api", ID: "a"}
	d := documents{k: []byte(`{"v":1}`)}
	vandal := ways.VandalOf(d)
	require.NoError(t, vandal.AddField(t.Context(), "prism", k, "colour", json.RawMessage(`"blue"`)))
	assert.JSONEq(t, `{"v":1,"colour":"blue"}`, string(d[k]))
	for field, want := range map[string]json.RawMessage{"colour": json.RawMessage(`"blue"`), "size": nil} {
		value, err := vandal.Field(t.Context(), "prism", k, field)
		require.NoError(t, err)
		assert.Equal(t, want, value)
	}
	require.NoError(t, vandal.NewerFormat(t.Context(), "prism", k))
	assert.JSONEq(t, `{"v":999,"colour":"blue"}`, string(d[k]))
	require.NoError(t, vandal.Corrupt(t.Context(), "prism", k))
	assert.False(t, json.Valid(d[k]))
	_, err := vandal.Field(t.Context(), "prism", k, "colour")
	require.Error(t, err)
	require.Error(t, vandal.AddField(t.Context(), "prism", core.Key{}, "colour", nil))
	assert.Len(t, d, 1)
}
