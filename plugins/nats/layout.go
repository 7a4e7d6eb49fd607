package nats

// layout.go: the stream of a namespace, and which subject holds what. A subject holds one
// message, its latest. Names and ids may have dots, which part a subject: they are escaped.

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// markerLife is how long NATS remembers that the message of a subject ran out: an ended
	// session's id is refused as long.
	markerLife = ports.EndedSessionLife
	// tombstoneLife is how long a tombstone stands; NATS counts in whole seconds.
	tombstoneLife = ports.TombstoneLife + time.Minute
	// maxStreamName is NATS' own limit.
	maxStreamName = 255
)

// Rooms of a namespace: what follows its prefix in a subject.
const (
	recordsRoom  = "r." // {service}.{id}: a record, or the tombstone of a deletion
	sessionsRoom = "s." // {session}: the session while it is open; from its end, what remembers it
	epochSubject = "epoch"
	probeSubject = "health" // what Health writes
	seatSubject  = "seat-"  // {0, 1, 2}: who follows sessions
)

// layout is a namespace in NATS.
type layout struct {
	stream string
	prefix string // of every subject, with its last dot
}

func newLayout(namespace string) (layout, error) {
	escaped := escape(namespace)
	l := layout{stream: "PRISM_" + escaped, prefix: "prism." + escaped + "."}
	if len(l.stream) > maxStreamName {
		return layout{}, core.Invalid(backendkit.OptionField(ports.OptionNamespace), namespace, "with its dots escaped it is too long for the name of a stream; use a shorter one")
	}
	return l, nil
}

// escape makes one token of a subject of a name.
func escape(name string) string { return backendkit.Escape(name, ".") }

func (l layout) epoch() string { return l.prefix + epochSubject }
func (l layout) probe() string { return l.prefix + probeSubject }

func (l layout) seat(n int) string { return l.prefix + seatSubject + strconv.Itoa(n) }

// followed are the subjects, beside the epoch's, of a process that holds a seat, or of one that does not.
func (l layout) followed(seat int) string {
	if seat == noSeat {
		return l.prefix + recordsRoom + ">"
	}
	return l.prefix + "*.>" // both rooms, and nothing else
}

func (l layout) record(k core.Key) string {
	return l.prefix + recordsRoom + escape(k.Service) + "." + escape(k.ID)
}

func (l layout) session(id ports.SessionID) string {
	return l.prefix + sessionsRoom + escape(string(id))
}

// key reads the key of a record's subject; false for anything else.
func (l layout) key(subject string) (core.Key, bool) {
	rest, ok := strings.CutPrefix(subject, l.prefix+recordsRoom)
	if !ok {
		return core.Key{}, false
	}
	first, second, ok := strings.Cut(rest, ".")
	service, one := backendkit.Unescape(first)
	id, two := backendkit.Unescape(second)
	key := core.Key{Service: service, ID: id}
	// Others may write what escaping never gives: it is no second subject of a key.
	return key, ok && one && two && key.Validate() == nil && l.record(key) == subject
}

// sessionID reads the id of a session's subject; false for anything else.
func (l layout) sessionID(subject string) (ports.SessionID, bool) {
	rest, ok := strings.CutPrefix(subject, l.prefix+sessionsRoom)
	if !ok {
		return "", false
	}
	name, ok := backendkit.Unescape(rest)
	id := ports.SessionID(name)
	return id, ok && l.session(id) == subject
}

const (
	formatKey = "prism-format" // in the stream's metadata
	format    = "1"
)

// config is the stream as it is made.
func (l layout) config(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: l.stream, Description: "Prism: service discovery", Subjects: []string{l.prefix + ">"},
		Storage: jetstream.FileStorage, Replicas: replicas, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		// One message a subject, or NATS silently lengthens short TTLs.
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxBytes: -1, MaxConsumers: -1, MaxMsgSize: -1,
		AllowMsgTTL: true, SubjectDeleteMarkerTTL: markerLife, AllowRollup: true, DenyDelete: true,
		Metadata: map[string]string{formatKey: format},
	}
}

// checkStream refuses a stream of the namespace's name that does not work as the backend needs
// it. Markers cannot be enabled later: what had a TTL before would not expire.
func (l layout) checkStream(has jetstream.StreamConfig) error {
	want := l.config(has.Replicas)
	wrong := ""
	switch {
	case has.Metadata[formatKey] == "":
		return fmt.Errorf("nats: %w", core.Invalid(backendkit.OptionField(ports.OptionNamespace), l.stream,
			"a stream of that name is there and is not Prism's; choose a namespace that nothing else uses, or remove the stream"))
	case has.Metadata[formatKey] != format:
		wrong = fmt.Sprintf("its format is %q, this version reads %q", has.Metadata[formatKey], format)
	case len(has.Subjects) != 1 || has.Subjects[0] != want.Subjects[0]:
		wrong = fmt.Sprintf("its subjects are %q, not %q", has.Subjects, want.Subjects)
	case has.MaxMsgsPerSubject != 1:
		wrong = fmt.Sprintf("max_msgs_per_subject is %d, not 1", has.MaxMsgsPerSubject)
	case !has.AllowMsgTTL || has.SubjectDeleteMarkerTTL < markerLife:
		wrong = fmt.Sprintf("allow_msg_ttl is %v and subject_delete_marker_ttl %s, not true and %s or more", has.AllowMsgTTL, has.SubjectDeleteMarkerTTL, markerLife)
	case has.Retention != want.Retention || has.Discard != want.Discard || has.MaxAge != 0 || has.MaxMsgs > 0:
		wrong = "its retention, discard, max_age or max_msgs would remove records"
	case has.AllowDirect:
		wrong = "allow_direct is on, so that a server that lags behind might answer"
	case has.Mirror != nil || len(has.Sources) > 0:
		wrong = "it gets messages of other streams"
	}
	if wrong == "" {
		return nil
	}
	return fmt.Errorf("nats: %w", core.Invalid(backendkit.OptionField(ports.OptionNamespace), l.stream,
		"the stream was changed: "+wrong+"; remove it and let the backend make it anew, or choose another namespace"))
}
