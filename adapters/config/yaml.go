package config

// yaml.go: YAML into a layer, with the line of every key. Keys are checked against the
// schema on the way, so that an unknown one is named with its line.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds that keep aliases from growing without end.
const (
	maxDepth = 64
	maxNodes = 100_000
)

// reader turns the YAML nodes of one source into settings.
type reader struct {
	root     *field
	source   Source
	lines    bool // the source is a file, so that lines mean something
	order    int
	where    map[string]Source
	problems *problems
	nodes    int
}

// file reads a whole file. The bool is false when it holds no key at all.
func (r *reader) file(b []byte) (map[string]any, bool) {
	doc := r.parse(b)
	if doc == nil || r.isNull(doc) {
		return map[string]any{}, false
	}
	if doc.Kind != yaml.MappingNode {
		r.fault(doc, nil, "it holds "+describe(doc)+`; use a mapping such as "backend: etcd"`)
		return map[string]any{}, true
	}
	tree := map[string]any{}
	placed := map[string]int{}
	for _, p := range r.pairs(doc, nil, 0) {
		if p.key != keyWrapper {
			r.top(tree, placed, p)
			continue
		}
		inner := deref(p.value)
		if r.isNull(inner) {
			continue
		}
		if inner.Kind != yaml.MappingNode {
			r.fault(p.keyNode, []string{keyWrapper}, "it holds "+describe(inner)+"; use a mapping of sections")
			continue
		}
		for _, q := range r.pairs(inner, []string{keyWrapper}, 1) {
			r.top(tree, placed, q)
		}
	}
	return tree, true
}

// top reads a section, which stands inside service_discovery or beside it, but not both.
func (r *reader) top(tree map[string]any, placed map[string]int, p pair) {
	if line, twice := placed[p.key]; twice {
		r.fault(p.keyNode, []string{p.key}, fmt.Sprintf(
			"it stands inside %s and beside it, on lines %d and %d; keep one of them",
			keyWrapper, min(line, p.keyNode.Line), max(line, p.keyNode.Line)))
		return
	}
	placed[p.key] = p.keyNode.Line
	r.entry(tree, r.root, nil, p, 1)
}

// text reads the value of a variable or a flag for a field.
func (r *reader) text(text string, f *field, path []string) (any, bool) {
	plain := &setting{Key: formatPath(path), Tag: tagText, Text: text, From: r.source, Order: r.order}
	if f.kind.leaf() {
		return plain, true
	}
	before := len(*r.problems)
	doc := r.parse([]byte(text))
	if f.kind == kindFree {
		block := doc != nil && doc.Kind != yaml.ScalarNode && doc.Style&yaml.FlowStyle == 0
		if doc == nil || block {
			*r.problems = (*r.problems)[:before]
			return plain, true
		}
	}
	if doc == nil {
		if len(*r.problems) == before {
			r.problems.addField(r.source, formatPath(path), "it is empty; use YAML such as {key: value}")
		}
		return nil, false
	}
	return r.value(doc, f, path, doc, 0)
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// parse returns the only document's node, or nil where there is none or it is no YAML.
func (r *reader) parse(b []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		if err = dec.Decode(&second); errors.Is(err, io.EOF) {
			return doc.Content[0]
		}
		if err == nil {
			r.fault(&second, nil, `it holds several YAML documents; keep one, without "---" between`)
			return nil
		}
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var line int
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits
		text = strings.Replace(text, m[0], "", 1)
	}
	r.fault(&yaml.Node{Line: line}, nil, "it is not YAML: "+strings.Join(strings.Fields(text), " "))
	return nil
}

// pair is one key of a mapping.
type pair struct {
	key            string
	keyNode, value *yaml.Node
}

// pairs returns the keys of a mapping, merge keys ("<<") resolved; own keys win over those.
func (r *reader) pairs(n *yaml.Node, path []string, depth int) []pair {
	var out []pair
	var merged []*yaml.Node
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !r.count(n.Content[i]) {
			break
		}
		k, v := deref(n.Content[i]), n.Content[i+1]
		if k.ShortTag() == "!!merge" {
			merged = append(merged, deref(v))
			continue
		}
		at := join(path, k.Value)
		switch line, twice := seen[k.Value]; {
		case k.Kind != yaml.ScalarNode || r.isNull(k):
			r.fault(n.Content[i], path, "a key here is no text; write keys as plain text")
		case hasControl(k.Value):
			r.fault(n.Content[i], path, "a key here holds a control character; write keys as plain text")
		case twice:
			r.fault(n.Content[i], at, fmt.Sprintf("it stands here twice, first on line %d; keep one of them", line))
		default:
			seen[k.Value] = n.Content[i].Line
			out = append(out, pair{key: k.Value, keyNode: n.Content[i], value: v})
		}
	}
	for _, m := range merged {
		sources := []*yaml.Node{m}
		if m.Kind == yaml.SequenceNode {
			sources = m.Content
		}
		for _, src := range sources {
			if src = deref(src); src.Kind != yaml.MappingNode || depth > maxDepth {
				r.fault(n, path, `a merge key ("<<") takes a mapping, or a list of them`)
				continue
			}
			for _, p := range r.pairs(src, path, depth+1) {
				if _, own := seen[p.key]; !own {
					seen[p.key] = p.keyNode.Line
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// count bounds the work that a document may cause.
func (r *reader) count(n *yaml.Node) bool {
	r.nodes++
	if r.nodes == maxNodes {
		r.fault(n, nil, "it has more than 100,000 values once its aliases are followed; make it smaller")
	}
	return r.nodes < maxNodes
}

func (r *reader) isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == tagNull
}

// fault reports what is wrong at a node; without a path it is about the whole source.
func (r *reader) fault(n *yaml.Node, path []string, sentence string) {
	if len(path) > 0 {
		r.problems.addField(r.at(n), formatPath(path), sentence)
		return
	}
	r.problems.add(r.at(n), sentenceError(sentence))
}

func (r *reader) at(n *yaml.Node) Source {
	src := r.source
	if r.lines {
		src.Line = n.Line
	}
	return src
}

func deref(n *yaml.Node) *yaml.Node {
	for range maxDepth {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	return n
}
