package hoststate

// format.go: the lines of the file. The first says whose state it is:
//
//	{"prism_state":1,"backend":"etcd","namespace":"prism","address":"127.0.0.1:8640"}
//
// Each other line is one change; what they come to, in order, is the state:
//
//	{"epoch":"…"}                                          the store's epoch
//	{"opened":{"id":"…","class_ms":15000,"ttl_ms":15000}}  a session
//	{"ended":"…"}                                          a session is no more
//	{"held":{…},"own":true}                                an instance, as backendkit stores a record
//	{"released":{"service":"…","id":"…"}}                  an instance is not held any more
//	{"alive":"…"}                                          the host lived at this time
//
// A record is one line whatever its body: one of several lines loses its white space.
//
// A last line that was not written to its end is left out: nobody was told of it.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// format is the version of the file that this code writes, and the only one that it reads.
const format = 1

type headerJSON struct {
	Format    int    `json:"prism_state"`
	Backend   string `json:"backend"`
	Namespace string `json:"namespace"`
	Address   string `json:"address"`
}

type sessionJSON struct {
	ID      ports.SessionID `json:"id"`
	ClassMS int64           `json:"class_ms"`
	TTLMS   int64           `json:"ttl_ms"`
}

type keyJSON struct {
	Service string `json:"service"`
	ID      string `json:"id"`
}

type lineJSON struct {
	Epoch    string          `json:"epoch,omitempty"`
	Opened   *sessionJSON    `json:"opened,omitempty"`
	Ended    ports.SessionID `json:"ended,omitempty"`
	Own      bool            `json:"own,omitempty"`
	Held     json.RawMessage `json:"held,omitempty"`
	Released *keyJSON        `json:"released,omitempty"`
	Alive    string          `json:"alive,omitempty"`
}

func (o Options) header() headerJSON {
	return headerJSON{Format: format, Backend: o.Backend, Namespace: o.Namespace, Address: o.Address}
}

// appendLine writes one change.
func appendLine(out []byte, n ports.Note) ([]byte, error) {
	line := lineJSON{Epoch: n.Epoch, Ended: n.Ended}
	switch {
	case n.Held != nil: // the record's bytes stay as they are, which json.RawMessage would not promise
		record, err := backendkit.Encode(backendkit.Document{Found: ports.Found{Record: &n.Held.Record}})
		if err != nil {
			return out, err
		}
		if bytes.IndexByte(record, '\n') >= 0 { // between tokens of a body that somebody has laid out: strings hold none
			var compact bytes.Buffer
			if err := json.Compact(&compact, record); err != nil {
				return out, err
			}
			record = compact.Bytes()
		}
		out = append(append(out, `{"held":`...), record...)
		if n.Held.Own {
			out = append(out, `,"own":true`...)
		}
		return append(out, "}\n"...), nil
	case n.Opened != nil:
		line.Opened = &sessionJSON{ID: n.Opened.ID, ClassMS: n.Opened.Class.Milliseconds(), TTLMS: n.Opened.TTL.Milliseconds()}
	case n.Released != core.Key{}:
		line.Released = &keyJSON{Service: n.Released.Service, ID: n.Released.ID}
	case !n.Alive.IsZero():
		line.Alive = core.FormatTime(n.Alive)
	}
	b, err := json.Marshal(line)
	if err != nil {
		return out, err
	}
	return append(append(out, b...), '\n'), nil
}

// parseLine reads one change.
func parseLine(b []byte) (n ports.Note, err error) {
	var line lineJSON
	if err := json.Unmarshal(b, &line); err != nil {
		return n, err
	}
	n.Epoch, n.Ended = line.Epoch, line.Ended
	switch {
	case line.Held != nil:
		d, err := backendkit.Decode(line.Held)
		if err != nil || d.Record == nil {
			return n, errors.Join(errors.New("it holds no record"), err)
		}
		n.Held = &ports.NotedInstance{Record: *d.Record, Own: line.Own}
	case line.Opened != nil:
		s := line.Opened
		n.Opened = &ports.NotedSession{
			ID: s.ID, Class: time.Duration(s.ClassMS) * time.Millisecond, TTL: time.Duration(s.TTLMS) * time.Millisecond,
		}
		if s.ID == "" || n.Opened.Class <= 0 || n.Opened.TTL <= 0 {
			return n, errors.New("it holds no session")
		}
	case line.Released != nil:
		n.Released = core.Key{Service: line.Released.Service, ID: line.Released.ID}
	case line.Alive != "":
		if n.Alive, err = time.Parse(time.RFC3339Nano, line.Alive); err != nil {
			return n, err
		}
	}
	return n, nil
}

// read returns what the file at path comes to; nothing where there is none.
func (o Options) read(path string) (ports.Recalled, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ports.Recalled{}, nil
	}
	if err != nil {
		return ports.Recalled{}, err
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	var head headerJSON
	switch err := json.Unmarshal(lines[0], &head); {
	case err != nil || head.Format == 0:
		return ports.Recalled{}, errors.New("it is no state file of Prism's")
	case head.Format != format:
		return ports.Recalled{}, fmt.Errorf("it has format %d, and this version reads format %d", head.Format, format)
	case head != o.header():
		return ports.Recalled{}, fmt.Errorf("it is of the backend %s, the namespace %s and the address %s", head.Backend, head.Namespace, head.Address)
	}
	state := newLive(ports.Recalled{})
	for i, line := range lines[1:] {
		if len(line) == 0 {
			continue // behind the last line's end
		}
		n, err := parseLine(line)
		if err != nil {
			if torn(lines[i+2:]) {
				break
			}
			return ports.Recalled{}, fmt.Errorf("line %d: %w", i+2, err)
		}
		state.take(n)
	}
	return state.recalled(), nil
}

// torn reports whether nothing that can be read follows: the machine ended while the end of
// the file was being written.
func torn(rest [][]byte) bool {
	for _, line := range rest {
		if _, err := parseLine(line); err == nil {
			return false
		}
	}
	return true
}
