package pluginrpc

// convert_internal_test.go: what is converted to the wire, encoded, decoded and converted back is
// what it was.

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var (
	anyText = rapid.String()
	anyTime = rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "none") {
			return time.Time{}
		}
		return time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
	})
	anyKey = rapid.Custom(func(t *rapid.T) core.Key {
		return core.Key{Service: anyText.Draw(t, "service"), ID: anyText.Draw(t, "id")}
	})
	anyGeneration = rapid.Custom(func(t *rapid.T) core.Generation {
		return core.Generation{N: rapid.Uint64().Draw(t, "n"), Random: anyText.Draw(t, "random")}
	})
	anyRevision = rapid.Custom(func(t *rapid.T) core.Revision {
		return core.Revision{Epoch: anyText.Draw(t, "epoch"), N: rapid.Uint64().Draw(t, "n")}
	})
	anyRecord = rapid.Custom(func(t *rapid.T) ports.Record {
		r := ports.Record{
			Key: anyKey.Draw(t, "key"), Generation: anyGeneration.Draw(t, "generation"), Session: ports.SessionID(anyText.Draw(t, "session")),
			Owner: anyText.Draw(t, "owner"), LeaseHash: anyText.Draw(t, "hash"),
			State: core.State{
				Declared: core.Declared(anyText.Draw(t, "declared")), Observed: core.Observed(anyText.Draw(t, "observed")),
				ByOperator: rapid.Bool().Draw(t, "by"), Actor: anyText.Draw(t, "actor"), Reason: anyText.Draw(t, "reason"),
				Streak: rapid.Int().Draw(t, "streak"), ChangedAt: anyTime.Draw(t, "changed"),
			},
			Body: rapid.SliceOf(rapid.Byte()).Draw(t, "body"), RegisteredAt: anyTime.Draw(t, "registered"),
			UpdatedAt: anyTime.Draw(t, "updated"), Revision: anyRevision.Draw(t, "revision"),
		}
		if len(r.Body) == 0 {
			r.Body = nil // The wire does not tell an empty body from none.
		}
		return r
	})
	anyTombstone = rapid.Custom(func(t *rapid.T) ports.Tombstone {
		return ports.Tombstone{
			Key: anyKey.Draw(t, "key"), Generation: anyGeneration.Draw(t, "generation"), Session: ports.SessionID(anyText.Draw(t, "session")),
			Cause: core.Cause(anyText.Draw(t, "cause")), Actor: anyText.Draw(t, "actor"), Reason: anyText.Draw(t, "reason"),
			Revision: anyRevision.Draw(t, "revision"),
		}
	})
	anyMutation = rapid.Custom(func(t *rapid.T) ports.Mutation {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return ports.Mutation{Put: &ports.Put{
				Record: anyRecord.Draw(t, "record"), Replaces: anyGeneration.Draw(t, "replaces"), IfRevision: anyRevision.Draw(t, "if"),
			}}
		case 1:
			s := &ports.SetState{
				Key: anyKey.Draw(t, "key"), Generation: anyGeneration.Draw(t, "generation"), Session: ports.SessionID(anyText.Draw(t, "session")),
				At: anyTime.Draw(t, "at"), IfRevision: anyRevision.Draw(t, "if"),
			}
			if rapid.Bool().Draw(t, "declares") {
				s.Declared = &ports.DeclaredState{
					Declared: core.Declared(anyText.Draw(t, "declared")), ByOperator: rapid.Bool().Draw(t, "by"),
					Actor: anyText.Draw(t, "actor"), Reason: anyText.Draw(t, "reason"),
				}
			}
			if rapid.Bool().Draw(t, "observes") {
				s.Observed = &ports.ObservedState{
					Observed: core.Observed(anyText.Draw(t, "observed")), Streak: rapid.Int().Draw(t, "streak"),
				}
			}
			return ports.Mutation{SetState: s}
		case 2:
			d := anyTombstone.Draw(t, "delete")
			return ports.Mutation{Delete: &ports.Delete{
				Key: d.Key, Generation: d.Generation, Session: d.Session, Cause: d.Cause, Actor: d.Actor, Reason: d.Reason, IfRevision: d.Revision,
			}}
		}
		return ports.Mutation{}
	})
)

// across encodes a message and decodes it into another.
func across(t require.TestingT, from, to proto.Message) {
	raw, err := proto.Marshal(from)
	require.NoError(t, err)
	require.NoError(t, proto.Unmarshal(raw, to))
}

func TestRecordsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyRecord.Draw(t, "record")
		var w backendv1.Record
		across(t, recordToWire(want), &w)
		require.Equal(t, want, recordFromWire(&w))
	})
}

func TestMutationsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyMutation.Draw(t, "mutation")
		var w backendv1.Mutation
		across(t, mutationToWire(want), &w)
		require.Equal(t, want, mutationFromWire(&w))
	})
}

func TestResultsAndFindingsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want ports.Found
		if rapid.Bool().Draw(t, "found") {
			want.Record = new(anyRecord.Draw(t, "record"))
		}
		if rapid.Bool().Draw(t, "buried") {
			want.Tombstone = new(anyTombstone.Draw(t, "tombstone"))
		}
		var f backendv1.Found
		across(t, foundToWire(want), &f)
		require.Equal(t, want, foundFromWire(&f))
		var r backendv1.MutationResult
		across(t, resultToWire(ports.MutationResult{Record: want.Record, Tombstone: want.Tombstone}), &r)
		require.Equal(t, ports.MutationResult{Record: want.Record, Tombstone: want.Tombstone}, resultFromWire(&r))
	})
}

// TestAnyBytesCanBeSent: what is not UTF-8 in a store must not break the stream that carries it.
func TestAnyBytesCanBeSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bad := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		want := strings.ToValidUTF8(bad, "\uFFFD")
		r := ports.Record{
			Key: core.Key{Service: bad, ID: bad}, Generation: core.Generation{N: 1, Random: bad}, Session: ports.SessionID(bad),
			Owner: bad, LeaseHash: bad, Body: []byte(bad), Revision: core.Revision{Epoch: bad, N: 1},
			State: core.State{Declared: core.Declared(bad), Observed: core.Observed(bad), Actor: bad, Reason: bad},
		}
		var w backendv1.Record
		across(t, recordToWire(r), &w)
		got := recordFromWire(&w)
		require.Equal(t, want, got.State.Reason)
		require.Equal(t, []byte(bad), append([]byte{}, got.Body...))

		var b backendv1.Tombstone
		across(t, tombstoneToWire(ports.Tombstone{
			Key: r.Key, Generation: r.Generation, Session: r.Session, Cause: core.Cause(bad), Actor: bad, Reason: bad, Revision: r.Revision,
		}), &b)
		var e backendv1.WatchEvent
		across(t, eventToWire(ports.WatchEvent{Kind: ports.WatchSkipped, Key: r.Key, Reason: bad}), &e)
		across(t, eventToWire(ports.WatchEvent{Kind: ports.WatchReset, Reason: bad}), &e)
		var m backendv1.Mutation
		across(t, mutationToWire(ports.Mutation{SetState: &ports.SetState{
			Key: r.Key, Session: r.Session, Observed: &ports.ObservedState{Observed: core.Observed(bad)},
			Declared: &ports.DeclaredState{Declared: core.Declared(bad), Actor: bad, Reason: bad},
		}}), &m)
		across(t, mutationToWire(ports.Mutation{Delete: &ports.Delete{Session: r.Session, Cause: core.Cause(bad), Actor: bad, Reason: bad}}), &m)
	})
}
