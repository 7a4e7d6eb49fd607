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

// buckets is how many keys the first level of the watch has: a change wakes every watcher with
// a list of so many entries, which then reads the names of one bucket's services.
const buckets = 64

// layout makes the keys of one namespace.
type layout struct{ namespace string }

func (l layout) root() string { return l.namespace + "/" }

// epoch stands among the versions, so that one query shows both.
func (l layout) epoch() string { return l.versions() + "epoch" }

// versions is the prefix that every watch blocks on: the epoch, and for each bucket a key that
// every write of its records touches.
func (l layout) versions() string { return l.namespace + "/versions/" }

func (l layout) bucketVersion(bucket string) string { return l.versions() + bucket }

// services is the second level: a key for each service of a bucket, touched likewise.
func (l layout) services(bucket string) string {
	if bucket == "" {
		return l.namespace + "/services/"
	}
	return l.namespace + "/services/" + bucket + "/"
}

func (l layout) serviceVersion(service string) string {
	return l.services(bucketOf(service)) + service
}

// record is where a record stands, or its tombstone.
func (l layout) record(k core.Key) string { return l.records(k.Service) + k.ID }

func (l layout) records(service string) string { return l.namespace + "/records/" + service + "/" }

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
	return []string{l.versions(), l.services(""), l.namespace + "/records/", l.allHeld(), l.sessions(), l.endedPrefix(), l.seats(), l.ticks()}
}

// bucketOf spreads services over the buckets.
func bucketOf(service string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(service)) // It never fails.
	return fmt.Sprintf("%02x", h.Sum32()%buckets)
}

// keyOf reads the service and the id from what follows a prefix.
func keyOf(rest string) (core.Key, bool) {
	service, id, ok := strings.Cut(rest, "/")
	k := core.Key{Service: service, ID: id}
	return k, ok && k.Validate() == nil
}
