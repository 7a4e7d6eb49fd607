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
	head, extra, err := DecodeKeeping[bodyHead](body)
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
