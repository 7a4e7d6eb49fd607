package backendkit

// document.go: the stored form of a record and of a tombstone, one JSON object that people can
// read with the store's own tools:
//
//	{"v":1,"service":"api","id":"api-1","generation":"3-ABC…","session":"…","owner":"…",
//	 "lease_hash":"…","state":{"declared":"up","observed":"healthy","by_operator":false,
//	 "actor":"check","reason":"…","streak":2,"changed_at":"…"},
//	 "registered_at":"…","updated_at":"…","body":{…}}
//
// A tombstone has "cause" with "actor" and "reason" instead of owner, state and body. A body
// that JSON cannot carry byte for byte stands base64-encoded under "body_base64".

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// DocumentFormat is the version of the stored form that this code writes, and the newest that
// it reads.
const DocumentFormat = 1

// Document is what stands at one key of a store: a record or a tombstone.
type Document struct {
	ports.Found

	// Unknown holds the fields that this version does not know, of the object and under "state".
	// Encode writes them back.
	Unknown, UnknownState map[string]json.RawMessage
	// Write is the Change.ID of the commit that wrote the document, where the store keeps it.
	Write string
	// Revision is that of the write, where the store writes it into the document, as the number of
	// the field "revision"; Encode leaves it out.
	Revision uint64
}

type stateJSON struct {
	Declared   core.Declared `json:"declared"`
	Observed   core.Observed `json:"observed"`
	ByOperator bool          `json:"by_operator,omitempty"`
	Actor      string        `json:"actor,omitempty"`
	Reason     string        `json:"reason,omitempty"`
	Streak     int           `json:"streak,omitempty"`
	ChangedAt  string        `json:"changed_at,omitempty"`
}

type documentJSON struct {
	V            int             `json:"v"`
	Service      string          `json:"service"`
	ID           string          `json:"id"`
	Generation   string          `json:"generation"`
	Session      string          `json:"session"`
	Write        string          `json:"write,omitempty"`
	Revision     uint64          `json:"revision,omitempty"`
	Owner        string          `json:"owner,omitempty"`
	LeaseHash    string          `json:"lease_hash,omitempty"`
	State        json.RawMessage `json:"state,omitempty"`
	RegisteredAt string          `json:"registered_at,omitempty"`
	UpdatedAt    string          `json:"updated_at,omitempty"`
	Cause        *core.Cause     `json:"cause,omitempty"` // what tells a tombstone from a record
	Actor        string          `json:"actor,omitempty"`
	Reason       string          `json:"reason,omitempty"`
	Body         json.RawMessage `json:"body,omitempty"`
	BodyBase64   string          `json:"body_base64,omitempty"`
}

// Encode writes a document. Revisions are the store's and are not part of it.
func Encode(d Document) ([]byte, error) {
	j := documentJSON{V: DocumentFormat, Write: d.Write}
	var body []byte
	switch {
	case d.Record != nil:
		r := d.Record
		j.Service, j.ID, j.Generation, j.Session = r.Key.Service, r.Key.ID, r.Generation.String(), string(r.Session)
		j.Owner, j.LeaseHash = r.Owner, r.LeaseHash
		j.RegisteredAt, j.UpdatedAt = core.FormatTime(r.RegisteredAt), core.FormatTime(r.UpdatedAt)
		state, err := withUnknown(stateJSON{
			Declared: r.State.Declared, Observed: r.State.Observed, ByOperator: r.State.ByOperator, Actor: r.State.Actor,
			Reason: r.State.Reason, Streak: r.State.Streak, ChangedAt: core.FormatTime(r.State.ChangedAt),
		}, d.UnknownState)
		if err != nil {
			return nil, fmt.Errorf("encode the record %s: %w", r.Key, err)
		}
		j.State = state
		if embeds(r.Body) {
			body = r.Body
		} else {
			j.BodyBase64 = base64.StdEncoding.EncodeToString(r.Body)
		}
	case d.Tombstone != nil:
		t := d.Tombstone
		j.Service, j.ID, j.Generation, j.Session = t.Key.Service, t.Key.ID, t.Generation.String(), string(t.Session)
		j.Cause, j.Actor, j.Reason = &t.Cause, t.Actor, t.Reason
	default:
		return nil, fmt.Errorf("encode a document: %w", core.Invalid("document", "nothing", "give a record or a tombstone"))
	}
	out, err := withUnknown(j, d.Unknown)
	if err != nil {
		return nil, fmt.Errorf("encode a document: %w", err)
	}
	if body == nil {
		return out, nil
	}
	// encoding/json compacts and escapes what it embeds; the body's bytes are the owner's.
	out = append(out[:len(out)-1], `,"body":`...)
	return append(append(out, body...), '}'), nil
}

// Decode reads a document. The record's or tombstone's Revision is not set. A document that
// is corrupt, of another key's form, or of a newer format is an error in one sentence: it is
// then skipped and reported, never guessed at.
func Decode(data []byte) (Document, error) {
	j, unknown, err := core.DecodeKeeping[documentJSON](data)
	if err != nil {
		var newer struct{ V int }
		if json.Unmarshal(data, &newer) == nil && newer.V > DocumentFormat { // which may write any field otherwise
			return Document{}, &FormatError{Format: newer.V}
		}
		return Document{}, fmt.Errorf("the stored document is no JSON of Prism's: %w", err)
	}
	switch {
	case j.V > DocumentFormat:
		return Document{}, &FormatError{Format: j.V}
	case j.V < 1:
		return Document{}, fmt.Errorf("the stored document is corrupt: it has format %d", j.V)
	}
	key := core.Key{Service: j.Service, ID: j.ID}
	if err := key.Validate(); err != nil {
		return Document{}, fmt.Errorf("the stored document is corrupt: %w", err)
	}
	gen, err := core.ParseGeneration(j.Generation)
	if err != nil || gen.IsZero() {
		return Document{}, fmt.Errorf("the stored document of %s is corrupt: its generation is %q", key, j.Generation)
	}
	d := Document{Write: j.Write, Revision: j.Revision, Unknown: unknown}
	if j.Cause != nil {
		d.Tombstone = &ports.Tombstone{Key: key, Generation: gen, Session: ports.SessionID(j.Session), Cause: *j.Cause, Actor: j.Actor, Reason: j.Reason}
		return d, nil
	}
	state, unknownState, err := core.DecodeKeeping[stateJSON](j.State)
	if err != nil {
		return Document{}, fmt.Errorf("the stored state of %s is corrupt: %w", key, err)
	}
	d.UnknownState = unknownState
	body := []byte(j.Body)
	if j.BodyBase64 != "" {
		if body, err = base64.StdEncoding.DecodeString(j.BodyBase64); err != nil {
			return Document{}, fmt.Errorf("the stored body of %s is corrupt: %w", key, err)
		}
	}
	rec := &ports.Record{
		Key: key, Generation: gen, Session: ports.SessionID(j.Session), Owner: j.Owner, LeaseHash: j.LeaseHash, Body: body,
		State: core.State{
			Declared: state.Declared, Observed: state.Observed, ByOperator: state.ByOperator, Actor: state.Actor,
			Reason: state.Reason, Streak: state.Streak,
		},
	}
	for _, at := range []struct {
		text string
		to   *time.Time
	}{{j.RegisteredAt, &rec.RegisteredAt}, {j.UpdatedAt, &rec.UpdatedAt}, {state.ChangedAt, &rec.State.ChangedAt}} {
		if at.text == "" {
			continue
		}
		if *at.to, err = time.Parse(time.RFC3339, at.text); err != nil {
			return Document{}, fmt.Errorf("a stored time of %s is corrupt: %w", key, err)
		}
	}
	d.Record = rec
	return d, nil
}

// DecodeFor reads the document that stands at a key, which must be that key's.
func DecodeFor(key core.Key, data []byte) (Document, error) {
	d, err := Decode(data)
	if err != nil {
		return Document{}, err
	}
	has := key
	switch {
	case d.Record != nil:
		has = d.Record.Key
	case d.Tombstone != nil:
		has = d.Tombstone.Key
	}
	if has != key {
		return Document{}, fmt.Errorf("the stored document at %s is of %s", key, has)
	}
	return d, nil
}

// Whose tells whose record a document is that cannot be read, as far as it still says so, as one of a
// newer format will: it goes with its session like any other, or nobody would ever remove it.
func Whose(data []byte) (gen core.Generation, session ports.SessionID, ok bool) {
	var said struct {
		Generation string          `json:"generation"`
		Session    ports.SessionID `json:"session"`
		Cause      *core.Cause     `json:"cause"` // of a tombstone
	}
	if json.Unmarshal(data, &said) != nil || said.Session == "" || said.Cause != nil {
		return gen, "", false
	}
	gen, err := core.ParseGeneration(said.Generation)
	return gen, said.Session, err == nil && !gen.IsZero()
}

// FormatError is Decode's error for a document of a newer format than it reads. Such a
// document is somebody's who knows better: it is never overwritten.
type FormatError struct{ Format int }

// Error implements error.
func (e *FormatError) Error() string {
	return fmt.Sprintf("the stored document has format %d, this version reads 1 to %d", e.Format, DocumentFormat)
}

// embeds reports whether a body can stand in a JSON object and come back byte for byte.
func embeds(body []byte) bool {
	return len(body) > 0 && len(bytes.TrimSpace(body)) == len(body) && utf8.Valid(body) && json.Valid(body) && !bytes.Equal(body, []byte("null"))
}

// withUnknown marshals v, an object, with further fields.
func withUnknown(v any, unknown map[string]json.RawMessage) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	out := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		out = append(out[:len(out)-1], ',')
		out = append(append(append(out, quoted...), ':'), unknown[name]...)
		out = append(out, '}')
	}
	return out, nil
}
