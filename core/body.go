package core

// body.go: the body of a stored record. Backends carry it as opaque bytes; it is JSON so
// that people can read it with the store's own tools.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
)

// BodyFormat is the version of the body that this code writes, and the newest it reads.
const BodyFormat = 1

// EncodeBody writes what the owner describes. Extra holds the fields of an earlier body
// that this code does not know (see DecodeBody); they are written back unchanged.
func EncodeBody(in Instance, extra map[string]json.RawMessage) ([]byte, error) {
	known, err := plainJSON(bodyHead{BodyFormat, in.description()})
	if err != nil {
		return nil, fmt.Errorf("encode the body of %s: %w", in.Key(), err)
	}
	if len(extra) == 0 {
		return known, nil
	}
	merged := maps.Clone(extra)
	if err := json.Unmarshal(known, &merged); err != nil {
		return nil, fmt.Errorf("encode the body of %s: %w", in.Key(), err)
	}
	return plainJSON(merged)
}

// plainJSON is json.Marshal without the escapes that only web pages need: with them the
// metadata could take six times its bytes, and a record more than a store takes.
func plainJSON(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// DecodeBody reads a body into the describing fields of an instance and returns the fields
// it does not know. A body of a newer format, or a corrupt one, is an error: the record is
// then skipped and reported, never guessed at.
func DecodeBody(body []byte, in *Instance) (extra map[string]json.RawMessage, err error) {
	head, extra, err := readBody(body)
	if err != nil {
		return nil, fmt.Errorf("decode the body of %s: %w", in.Key(), err)
	}
	if head.V < 1 || head.V > BodyFormat {
		return nil, fmt.Errorf("decode the body of %s: format %d, this version reads 1 to %d", in.Key(), head.V, BodyFormat)
	}
	if head.Host == "" || head.Port < 1 || head.Port > 65535 || head.Weight < 0 || head.Weight > MaxWeight {
		return nil, fmt.Errorf("decode the body of %s: host, port or weight is missing or out of range", in.Key())
	}
	head.apply(in)
	return extra, nil
}

// bodyHead is a body as far as this code knows it.
type bodyHead struct {
	V int `json:"v"`
	description
}

// readBody reads a body once where it has no unknown fields, which is nearly always: views of
// many thousand instances are read at each start.
func readBody(body []byte) (head bodyHead, extra map[string]json.RawMessage, err error) {
	known := json.NewDecoder(bytes.NewReader(body))
	known.DisallowUnknownFields()
	if known.Decode(&head) == nil && known.InputOffset() == int64(len(body)) {
		return head, nil, nil
	}
	head = bodyHead{}
	if err := json.Unmarshal(body, &head); err != nil {
		return bodyHead{}, nil, err
	}
	if err := json.Unmarshal(body, &extra); err != nil {
		return bodyHead{}, nil, err
	}
	maps.DeleteFunc(extra, func(name string, _ json.RawMessage) bool { return knownBodyFields[name] })
	if len(extra) == 0 {
		return head, nil, nil
	}
	return head, extra, nil
}

var knownBodyFields = map[string]bool{
	"v": true, "host": true, "port": true, "endpoints": true, "scheme": true, "version": true, "region": true, "zone": true,
	"datacenter": true, "weight": true, "tags": true, "metadata": true, "health_check_url": true, "ttl": true, "keepalive": true, "check": true,
}
