package consul

// layout.go: where everything is in Consul's KV store. Names need no escaping: none of their
// characters means anything to Consul, and the first is never a dot.

import (
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// buckets is how many parts the records of a namespace are divided into, so that a watcher who
// was late looks for what has moved in a part of them.
const buckets = 64

// layout makes the keys of one namespace.
type layout struct{ namespace string }

func (l layout) root() string { return l.namespace + "/" }

// latest is the key that every watch blocks on: every write of records touches it, and names them.
func (l layout) latest() string { return l.namespace + "/latest" }

// epoch stands among the versions, so that one read shows both.
func (l layout) epoch() string { return l.versions() + "epoch" }

// versions holds the epoch, and for each bucket a key that every write of its records touches.
func (l layout) versions() string { return l.namespace + "/versions/" }

func (l layout) version(bucket string) string { return l.versions() + bucket }

// move is touched with a record, so that a list of a bucket shows which of them were written.
func (l layout) move(k core.Key) string { return l.moves(bucketOf(k)) + k.Service + "/" + k.ID }

func (l layout) moves(bucket string) string { return l.allMoves() + bucket + "/" }

func (l layout) allMoves() string { return l.namespace + "/moves/" }

// record is where a record stands, or its tombstone.
func (l layout) record(k core.Key) string { return l.records(k.Service) + k.ID }

func (l layout) records(service string) string { return l.allRecords() + service + "/" }

func (l layout) allRecords() string { return l.namespace + "/records/" }

// held lists the records under a session, so that its end need not look at all.
func (l layout) held(id ports.SessionID, k core.Key) string {
	return l.heldBy(id) + k.Service + "/" + k.ID
}

func (l layout) heldBy(id ports.SessionID) string { return l.allHeld() + string(id) + "/" }

func (l layout) allHeld() string { return l.namespace + "/held/" }

// sessions is the prefix that sweepers block on.
func (l layout) sessions() string { return l.namespace + "/sessions/" }

// sessionFormat is always there: the index of an empty prefix would be that of the whole store.
func (l layout) sessionFormat() string { return l.sessions() + "format" }

func (l layout) open(id ports.SessionID) string { return l.sessions() + "open/" + string(id) }

// closing holds a session that has ended and whose records are going.
func (l layout) closing(id ports.SessionID) string { return l.sessions() + "closing/" + string(id) }

func (l layout) endedPrefix() string { return l.namespace + "/ended/" }

// ended says for a day that an id must not be opened again.
func (l layout) ended(id ports.SessionID) string { return l.endedPrefix() + string(id) }

func (l layout) seats() string { return l.namespace + "/seats/" }

func (l layout) seat(n int) string { return fmt.Sprintf("%s%d", l.seats(), n) }

// ticks is the sweepers' clock: revisions that are a known time apart.
func (l layout) ticks() string { return l.namespace + "/ticks" }

// known are the names below the root, by which foreign data is told from ours.
func (l layout) known() []string {
	return []string{l.latest(), l.versions(), l.allMoves(), l.allRecords(), l.allHeld(), l.sessions(), l.endedPrefix(), l.seats(), l.ticks()}
}

// bucketOf spreads records over the buckets.
func bucketOf(k core.Key) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(k.String())) // It never fails.
	return fmt.Sprintf("%02x", h.Sum32()%buckets)
}

// keyOf reads the service and the id from what follows a prefix.
func keyOf(rest string) (core.Key, bool) {
	service, id, ok := strings.Cut(rest, "/")
	k := core.Key{Service: service, ID: id}
	return k, ok && k.Validate() == nil
}
