package config

// setting.go: one value as it was written, before its type is known. A layer is a tree of
// map[string]any with settings as its leaves; koanf merges layers and carries each setting
// through, so every value that wins still knows where it came from.

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	merge "github.com/knadh/koanf/maps"
)

// The kinds of YAML value that are told apart; these are YAML's own short tags.
const (
	tagText  = "!!str"
	tagWhole = "!!int"
	tagFloat = "!!float"
	tagBool  = "!!bool"
	tagNull  = "!!null"
	tagList  = "!!seq"
)

// setting is one value of a layer. Its fields are exported because koanf copies them by
// reflection.
type setting struct {
	Key   string // as it was written, for people
	Tag   string // one of the tags above
	Text  string // the literal of a scalar
	Items []any  // of a list: settings and maps
	From  Source
	Order int  // of the layer; later ones win
	Flat  bool // an option of backend_config that was written without a backend's name
	Value any  // typed, once it is known
}

// layer is one source of settings.
type layer struct {
	tree  map[string]any
	where map[string]Source // the place of each key, sections included, by internal path
}

func newLayer() layer { return layer{tree: map[string]any{}, where: map[string]Source{}} }

// Read implements koanf.Provider.
func (l layer) Read() (map[string]any, error) { return l.tree, nil }

// ReadBytes implements koanf.Provider; layers are parsed before koanf sees them.
func (l layer) ReadBytes() ([]byte, error) {
	return nil, errors.New("a layer of the configuration has no bytes")
}

// put sets the value at a path, over what stands there.
func (l layer) put(path []string, value any) {
	tree := value
	for _, key := range slices.Backward(path) {
		tree = map[string]any{key: tree}
	}
	if m, ok := tree.(map[string]any); ok {
		merge.Merge(m, l.tree)
	}
}

// at returns what stands at a path of a tree, or nil.
func at(tree map[string]any, path ...string) any {
	var node any = tree
	for _, key := range path {
		m, ok := node.(map[string]any)
		if !ok {
			return nil
		}
		node = m[key]
	}
	return node
}

// settingAt returns the setting at a path of a tree, or nil.
func settingAt(tree map[string]any, path ...string) *setting {
	s, _ := at(tree, path...).(*setting)
	return s
}

// eachSetting calls f for every setting of a tree, those within lists included.
func eachSetting(node any, f func(*setting)) {
	switch n := node.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(n)) {
			eachSetting(n[key], f)
		}
	case *setting:
		f(n)
		for _, item := range n.Items {
			eachSetting(item, f)
		}
	}
}

// settingOf makes a setting of a Go value, as flags give them.
func settingOf(v any) *setting {
	switch x := v.(type) {
	case string:
		return &setting{Tag: tagText, Text: x}
	case bool:
		return &setting{Tag: tagBool, Text: strconv.FormatBool(x)}
	case time.Duration:
		return &setting{Tag: tagText, Text: x.String()}
	case []string:
		s := &setting{Tag: tagList}
		for _, item := range x {
			s.Items = append(s.Items, settingOf(item))
		}
		return s
	case int, int64, uint16:
		return &setting{Tag: tagWhole, Text: fmt.Sprint(x)}
	case float64:
		return &setting{Tag: tagFloat, Text: strconv.FormatFloat(x, 'g', -1, 64)}
	default:
		return &setting{Tag: tagText, Text: fmt.Sprint(x)}
	}
}

// defaults returns the first layer, made of Default.
func defaults() layer {
	l := newLayer()
	fillDefaults(l, nil, reflect.ValueOf(Default()))
	return l
}

func fillDefaults(l layer, path []string, v reflect.Value) {
	for sf, fv := range v.Fields() {
		below := join(path, sf.Tag.Get("koanf"))
		switch fv.Kind() {
		case reflect.Struct:
			fillDefaults(l, below, fv)
		case reflect.Map:
			l.put(below, map[string]any{})
			for _, key := range fv.MapKeys() {
				putDefault(l, join(below, key.String()), fv.MapIndex(key))
			}
		default:
			putDefault(l, below, fv)
		}
	}
}

func putDefault(l layer, path []string, v reflect.Value) {
	l.put(path, &setting{Key: formatPath(path), Value: v.Interface(), From: Source{Layer: LayerDefault}})
}
