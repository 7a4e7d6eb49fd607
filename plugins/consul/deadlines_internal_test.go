package consul

// deadlines_internal_test.go: the sweepers' pure parts, by times that the tests choose.

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func ids(all []observed) []ports.SessionID {
	var out []ports.SessionID
	for _, o := range all {
		out = append(out, o.id)
	}
	return out
}

func TestDeadlinesStartAsARenewalIsSeen(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	d := newDeadlines()
	_, waiting := d.next(0)
	assert.False(t, waiting)
	a := observed{id: "a", index: 1, ttl: 2 * time.Second}
	b := observed{id: "b", index: 2, ttl: 5 * time.Second}
	d.observe(at(0), []observed{a, b}, true)
	assert.Empty(t, d.due(at(1.999), 0))
	assert.Equal(t, []ports.SessionID{"a"}, ids(d.due(at(2), 0)))
	assert.Empty(t, d.due(at(2.3), 400*time.Millisecond), "a standby acts later")
	assert.Equal(t, []ports.SessionID{"a"}, ids(d.due(at(2.4), 400*time.Millisecond)))
	next, _ := d.next(400 * time.Millisecond)
	assert.Equal(t, at(2.4), next)

	d.observe(at(1), []observed{a, b}, false) // Nothing has moved.
	assert.Equal(t, []ports.SessionID{"a"}, ids(d.due(at(2), 0)))
	a.index = 3
	d.observe(at(1.5), []observed{a, b}, false)
	assert.Empty(t, d.due(at(3.4), 0))
	assert.Equal(t, []ports.SessionID{"a"}, ids(d.due(at(3.5), 0)))

	d.observe(at(4), []observed{a, b}, true) // Nobody looked for a while.
	assert.Empty(t, d.due(at(5.9), 0))
	assert.Equal(t, []ports.SessionID{"a"}, ids(d.due(at(6), 0)))
	assert.Len(t, d.due(at(9), 0), 2)

	d.observe(at(5), []observed{b}, false) // One was closed.
	assert.Equal(t, []ports.SessionID{"b"}, ids(d.due(at(9), 0)))
	d.drop(b)
	assert.Empty(t, d.due(at(99), 0))
}

func TestAClosingSessionHasADeadlineOfItsOwn(t *testing.T) {
	t.Parallel()
	now := time.Now()
	d := newDeadlines()
	d.observe(now, []observed{{id: "a", index: 1, ttl: time.Second}, {id: "a", index: 1, ttl: 3 * time.Second, closing: true}}, false)
	assert.Len(t, d.due(now.Add(time.Second), 0), 1)
	assert.Len(t, d.due(now.Add(3*time.Second), 0), 2)
}

// What is older than the revision of a tick is older than so many ticks, and one to spare.
func TestTicksTellAge(t *testing.T) {
	t.Parallel()
	var ticks ticksJSON
	for i := range uint64(6) {
		ticks.Ticks = append(ticks.Ticks, 100+i)
	}
	assert.Zero(t, ticks.before(time.Hour, 10*time.Minute), "six ticks are not yet an hour for sure")
	ticks.Ticks = append(ticks.Ticks, 106)
	assert.Equal(t, uint64(100), ticks.before(time.Hour, 10*time.Minute))
	ticks.Ticks = append(ticks.Ticks, 107)
	assert.Equal(t, uint64(101), ticks.before(time.Hour, 10*time.Minute))
	assert.Zero(t, ticks.before(endedLife, 10*time.Minute))
}

func TestSessionDocumentsKeepWhatTheyDoNotKnow(t *testing.T) {
	t.Parallel()
	d := readSessionDocument([]byte(`{"v":2,"ttl_ms":1500,"renewals":7,"zone":{"of":"a newer version"}}`))
	assert.Equal(t, 1500*time.Millisecond, d.ttl())
	next := d.renewed()
	assert.JSONEq(t, `{"v":2,"ttl_ms":1500,"renewals":8,"zone":{"of":"a newer version"}}`, string(next.encode()))
	assert.Equal(t, int64(7), d.number("renewals"), "the one before is left as it was")
	for _, damaged := range []string{"", "null", "[]", "{", `{"ttl_ms":"x"}`} {
		assert.Equal(t, time.Minute, readSessionDocument([]byte(damaged)).ttl(), damaged)
	}
	assert.Equal(t, 1500*time.Millisecond, roundUp(1500*time.Millisecond-time.Nanosecond))
}

func TestBucketsAreSpread(t *testing.T) {
	t.Parallel()
	seen := make(map[string]int)
	for i := range 6400 {
		seen[bucketOf(core.Key{Service: "api", ID: fmt.Sprintf("api-%d", i)})]++
	}
	assert.Len(t, seen, buckets)
	for bucket, n := range seen {
		assert.Less(t, n, 300, bucket)
	}
}
