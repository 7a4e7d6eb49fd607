package config

// schema.go: the keys that exist, derived from the typed Config, and the one that somebody
// meant who wrote another.

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
)

// kind says what a key's value is.
type kind int

const (
	kindText     kind = iota // a string; numbers and so on are taken as they are written
	kindWhole                // an int
	kindNumber               // a float64
	kindBool                 // true or false
	kindDuration             // seconds, or "30s"
	kindTexts                // a list of strings
	kindLogField             // true, false or a string
	kindFree                 // anything
	kindOptions              // backend_config: options, flat or under a backend's name
	kindOption               // one of them, or a backend's name
	kindSection              // a mapping of known keys
	kindEntries              // a mapping of names that people choose
	kindList                 // a list of sections
)

// leaf reports whether a value of this kind is written as one text on the command line.
func (k kind) leaf() bool { return k <= kindLogField || k == kindOption }

// field is one key that exists.
type field struct {
	name   string
	kind   kind
	secret bool
	fields []*field // of a section
	elem   *field   // of entries, lists and options
}

const (
	keyBackendConfig = "backend_config"
	keyEnvironments  = "environments"
	keyWrapper       = "service_discovery"
)

// schema returns the root: Config's keys and the profiles.
func schema() *field {
	root := fieldOf("", reflect.TypeFor[Config]())
	profile := &field{kind: kindSection}
	for _, f := range root.fields {
		if f.name != "environment" {
			profile.fields = append(profile.fields, f)
		}
	}
	root.fields = append(root.fields, &field{name: keyEnvironments, kind: kindEntries, elem: profile})
	return root
}

func fieldOf(name string, t reflect.Type) *field {
	f := &field{name: name}
	switch t {
	case reflect.TypeFor[time.Duration]():
		f.kind = kindDuration
		return f
	case reflect.TypeFor[LogField]():
		f.kind = kindLogField
		return f
	case reflect.TypeFor[Service]():
		t = reflect.TypeFor[serviceShape]()
	}
	switch t.Kind() {
	case reflect.String:
		f.kind = kindText
	case reflect.Int:
		f.kind = kindWhole
	case reflect.Float64:
		f.kind = kindNumber
	case reflect.Bool:
		f.kind = kindBool
	case reflect.Struct:
		f.kind = kindSection
		for sf := range t.Fields() {
			sub := fieldOf(sf.Tag.Get("koanf"), sf.Type)
			sub.secret = sf.Tag.Get("secret") != ""
			f.fields = append(f.fields, sub)
		}
	case reflect.Map:
		f.kind, f.elem = kindEntries, fieldOf("", t.Elem())
		switch {
		case name == keyBackendConfig:
			f.kind, f.elem = kindOptions, &field{kind: kindOption, elem: &field{kind: kindOption}}
		case f.elem.kind == kindFree:
			f.kind, f.elem = kindFree, nil
		}
	case reflect.Slice:
		f.elem = fieldOf("", t.Elem())
		switch f.elem.kind {
		case kindText:
			f.kind = kindTexts
		case kindSection:
			f.kind = kindList
		default:
			f.kind, f.elem = kindFree, nil
		}
	default:
		f.kind = kindFree
	}
	return f
}

// child returns the field of a key below f, or nil.
func (f *field) child(key string) *field {
	if f.kind == kindFree {
		return f
	}
	if f.kind != kindSection {
		return f.elem
	}
	for _, c := range f.fields {
		if c.name == key {
			return c
		}
	}
	return nil
}

// at follows a path down from f; n is how many of its parts exist.
func (f *field) at(path []string) (found *field, n int) {
	for i, key := range path {
		if f.kind == kindList {
			return nil, i
		}
		next := f.child(key)
		if next == nil {
			return nil, i
		}
		f = next
	}
	return f, len(path)
}

// suggest words what was meant by the last part of path, which does not exist below f: a
// close key beside it, else the same key elsewhere, else the nearest beside it.
func (f *field) suggest(root *field, path []string) string {
	key := path[len(path)-1]
	beside := path[:len(path)-1]
	best, distance := "", -1
	for _, c := range f.fields {
		if d := editDistance(key, c.name); distance < 0 || d < distance {
			best, distance = c.name, d
		}
	}
	near := formatPath(join(beside, best))
	if limit := max(2, len(key)/3); distance < 0 || distance > limit {
		if elsewhere := root.find(key, nil); elsewhere != "" {
			near = elsewhere
		} else if distance < 0 {
			return "there is no such key here; it is one value"
		}
	}
	return fmt.Sprintf("there is no such key; the nearest is %q", near)
}

// find returns the path of a section's key of this name, outside profiles and services.
func (f *field) find(key string, path []string) string {
	for _, c := range f.fields {
		at := join(path, c.name)
		if c.name == key {
			return formatPath(at)
		}
		if below := c.find(key, at); c.kind == kindSection && below != "" {
			return below
		}
	}
	return ""
}

// editDistance is Levenshtein's, without case; long keys are compared by their beginning.
func editDistance(a, b string) int {
	const limit = 64
	a, b = strings.ToLower(a), strings.ToLower(b)
	return levenshtein.ComputeDistance(a[:min(len(a), limit)], b[:min(len(b), limit)])
}
