package etcd

// layout.go: which key holds what. Names and ids have no slash, so they stand in keys as they are.

import (
	"strings"

	"go.etcd.io/etcd/client/v3"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// layout is the namespace with a slash: what every key begins with.
type layout string

// The rooms of a namespace.
const (
	recordsRoom  = "instances/" // {service}/{id}: a record, or the tombstone of a deletion
	willsRoom    = "wills/"     // {service}/{id}: what Get answers when a record ran out
	sessionsRoom = "sessions/"  // {session}: exists while the session is open
	openedRoom   = "opened/"    // {session}: exists from its opening to a day after its end
	epochKey     = "epoch"
	auditKey     = "audit" // exists while one process's audit is recent
)

func (l layout) epoch() string            { return string(l) + epochKey }
func (l layout) audit() string            { return string(l) + auditKey }
func (l layout) record(k core.Key) string { return string(l) + recordsRoom + k.Service + "/" + k.ID }

func (l layout) will(k core.Key) string            { return string(l) + willsRoom + k.Service + "/" + k.ID }
func (l layout) session(id ports.SessionID) string { return string(l) + sessionsRoom + string(id) }
func (l layout) opened(id ports.SessionID) string  { return string(l) + openedRoom + string(id) }

// key reads the key of a record; false for anything else.
func (l layout) key(record string) (core.Key, bool) {
	rest, ok := strings.CutPrefix(record, string(l)+recordsRoom)
	if !ok {
		return core.Key{}, false
	}
	service, id, ok := strings.Cut(rest, "/")
	key := core.Key{Service: service, ID: id}
	return key, ok && key.Validate() == nil
}

// ours reports whether a key is one that a namespace holds.
func (l layout) ours(key string) bool {
	rest := strings.TrimPrefix(key, string(l))
	if rest == epochKey || rest == auditKey {
		return true
	}
	for _, room := range []string{recordsRoom, willsRoom, sessionsRoom, openedRoom} {
		if strings.HasPrefix(rest, room) {
			return true
		}
	}
	return false
}

// span is a range of keys: from, and up to but not including to.
type span struct{ from, to string }

func under(prefix string) span { return span{prefix, clientv3.GetPrefixRangeEnd(prefix)} }

// all are the records of the namespace.
func (l layout) all() span { return under(string(l) + recordsRoom) }

// of are the records of a service.
func (l layout) of(service string) span { return under(string(l) + recordsRoom + service + "/") }

// get reads the range.
func (s span) get(opts ...clientv3.OpOption) clientv3.Op {
	return clientv3.OpGet(s.from, append(opts, clientv3.WithRange(s.to))...)
}
