package config

// convert.go: a setting into the type that its key has.

import (
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/marketprism/prism/core"
)

// expects says what a key of this kind takes.
func (f *field) expects() string {
	switch f.kind {
	case kindText:
		return "text"
	case kindWhole:
		return "a whole number"
	case kindNumber:
		return "a number"
	case kindBool:
		return "true or false"
	case kindDuration:
		return `a number of seconds, or a duration such as "30s" or "1m30s"`
	case kindTexts:
		return `a list of texts such as [a, b], or one text with commas`
	case kindLogField:
		return "true, false or text"
	case kindOption:
		return "text, a number, true or false, or a list"
	case kindList:
		return "a list of mappings"
	case kindOptions:
		return "a mapping of the backend's options"
	case kindFree, kindSection, kindEntries:
	}
	return "a mapping"
}

// convert types an expanded setting.
func (f *field) convert(s *setting) (any, *core.FieldError) {
	if s.From.Layer == LayerDefault {
		return s.Value, nil
	}
	if s.Tag == tagList && f.kind != kindTexts && f.kind != kindOption {
		return nil, f.refuse(s)
	}
	text := strings.TrimSpace(s.Text)
	isText, isWhole := s.Tag == tagText, s.Tag == tagWhole
	switch f.kind {
	case kindText:
		return s.Text, nil
	case kindWhole:
		base := 10
		if isWhole {
			base = 0 // YAML's 0x1f and 1_000 too
		}
		if n, err := strconv.ParseInt(text, base, strconv.IntSize); err == nil && (isWhole || isText) {
			return int(n), nil
		}
	case kindNumber:
		n, err := strconv.ParseFloat(text, 64)
		if err == nil && !math.IsInf(n, 0) && !math.IsNaN(n) && s.Tag != tagBool {
			return n, nil
		}
	case kindBool:
		if b, ok := parseBool(text, s.From); ok {
			return b, nil
		}
	case kindDuration:
		if d, err := core.ParseDuration(s.Key, text); err == nil {
			return d, nil
		}
	case kindTexts:
		if list, ok := textList(s); ok {
			return list, nil
		}
	case kindLogField:
		if b, ok := parseBool(text, s.From); ok {
			return LogField{Show: b}, nil
		}
		return LogField{Show: true, Value: s.Text}, nil
	case kindOption:
		if v, ok := optionValue(s); ok {
			return v, nil
		}
	case kindFree, kindOptions, kindSection, kindEntries, kindList:
	}
	return nil, f.refuse(s)
}

// refuse words a wrong type; a secret is not repeated.
func (f *field) refuse(s *setting) *core.FieldError {
	switch {
	case f.secret || secretName(lastPart(s.Key)):
		return &core.FieldError{Field: s.Key, Allowed: "what is given is not allowed; use " + f.expects()}
	case s.Tag == tagList:
		return &core.FieldError{Field: s.Key, Given: "this list", Allowed: "use " + f.expects()}
	default:
		return core.Invalid(s.Key, s.Text, "use "+f.expects())
	}
}

// parseBool reads true and false, and yes, no, on and off, which YAML 1.1 read as such; a
// variable or flag may say 1 and 0.
func parseBool(text string, from Source) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	case "1", "0":
		outside := from.Layer == LayerEnvironment || from.Layer == LayerFlag
		return text == "1", outside
	}
	return false, false
}

// textList reads a list of scalars, or one text with commas.
func textList(s *setting) ([]string, bool) {
	out := []string{}
	switch s.Tag {
	case tagList:
		for _, item := range s.Items {
			e, ok := item.(*setting)
			if !ok || e.Tag == tagList || e.Tag == tagNull {
				return nil, false
			}
			out = append(out, e.Text)
		}
	case tagText:
		for part := range strings.SplitSeq(s.Text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	default:
		return nil, false
	}
	return out, true
}

// optionValue types an option of a backend by how it is written, as no schema is known yet.
func optionValue(s *setting) (any, bool) {
	switch s.Tag {
	case tagList:
		return textListOK(s)
	case tagBool:
		b, ok := parseBool(s.Text, s.From)
		return b, ok
	case tagWhole:
		n, err := strconv.ParseInt(s.Text, 0, 64)
		return n, err == nil
	case tagFloat:
		n, err := strconv.ParseFloat(s.Text, 64)
		return n, err == nil
	default:
		return s.Text, true
	}
}

func textListOK(s *setting) (any, bool) {
	list, ok := textList(s)
	return list, ok
}

// freeJSON turns a value of which nothing is known into what json.Marshal writes exactly:
// integers of any size keep every digit.
func freeJSON(node any) (any, *core.FieldError) {
	switch n := node.(type) {
	case map[string]any:
		out := make(map[string]any, len(n))
		for key, v := range n {
			var err *core.FieldError
			if out[key], err = freeJSON(v); err != nil {
				return nil, err
			}
		}
		return out, nil
	case *setting:
		v, err := n.free()
		n.Value = v
		return v, err
	}
	return nil, nil
}

func (s *setting) free() (any, *core.FieldError) {
	switch s.Tag {
	case tagNull:
		return nil, nil
	case tagBool:
		b, _ := parseBool(s.Text, s.From) // YAML's tag says that it is one
		return b, nil
	case tagList:
		out := make([]any, 0, len(s.Items))
		for _, item := range s.Items {
			v, err := freeJSON(item)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case tagWhole, tagFloat:
		if json.Valid([]byte(s.Text)) {
			return json.Number(s.Text), nil
		}
		if n, ok := new(big.Int).SetString(s.Text, 0); ok {
			return json.Number(n.String()), nil
		}
		n, err := strconv.ParseFloat(strings.ReplaceAll(s.Text, "_", ""), 64)
		if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
			return nil, core.Invalid(s.Key, s.Text, "use a number that JSON can hold, or quote it")
		}
		return json.Number(strconv.FormatFloat(n, 'g', -1, 64)), nil
	default:
		return s.Text, nil
	}
}
