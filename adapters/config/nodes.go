package config

// nodes.go: the values of a YAML document, checked against the schema for shape. Types of
// scalars wait until it is known which of them take effect.

import "go.yaml.in/yaml/v3"

// entry reads one key of a mapping into tree.
func (r *reader) entry(tree map[string]any, parent *field, path []string, p pair, depth int) {
	at := join(path, p.key)
	f := parent.child(p.key)
	if f == nil {
		r.fault(p.keyNode, at, parent.suggest(r.root, at))
		return
	}
	r.where[internalPath(at)] = r.at(p.keyNode)
	if v, ok := r.value(p.value, f, at, p.keyNode, depth); ok {
		tree[p.key] = v
	}
}

// value reads the node of a field; pos is where people look for it. The bool is false when
// there is none: an empty value counts as not given, except where anything may stand.
func (r *reader) value(n *yaml.Node, f *field, path []string, pos *yaml.Node, depth int) (any, bool) {
	n = deref(n)
	if depth > maxDepth {
		r.fault(pos, path, "it is nested deeper than 64 levels; nest less")
		return nil, false
	}
	if !r.count(n) {
		return nil, false
	}
	if r.isNull(n) && f.kind != kindFree {
		named := len(path) > 0 && f.kind == kindSection && f.name == ""
		return map[string]any{}, named // a service or a profile of which nothing is said
	}
	switch f.kind {
	case kindSection, kindEntries, kindOptions:
		return r.mapping(n, f, path, pos, depth)
	case kindList:
		return r.list(n, f, path, pos, depth)
	case kindFree:
		if n.Kind == yaml.MappingNode {
			return r.mapping(n, f, path, pos, depth)
		}
	case kindOption:
		if n.Kind == yaml.MappingNode && f.elem != nil {
			return r.mapping(n, f, path, pos, depth)
		}
	default:
	}
	if n.Kind == yaml.MappingNode {
		r.fault(pos, path, "it holds a mapping; use "+f.expects())
		return nil, false
	}
	return r.scalar(n, path, pos, depth)
}

func (r *reader) mapping(n *yaml.Node, f *field, path []string, pos *yaml.Node, depth int) (any, bool) {
	if n.Kind != yaml.MappingNode {
		r.fault(pos, path, "it holds "+describe(n)+"; use "+f.expects())
		return nil, false
	}
	tree := map[string]any{}
	for _, p := range r.pairs(n, path, depth) {
		r.entry(tree, f, path, p, depth+1)
	}
	return tree, true
}

// list reads a list of sections.
func (r *reader) list(n *yaml.Node, f *field, path []string, pos *yaml.Node, depth int) (any, bool) {
	if n.Kind != yaml.SequenceNode {
		r.fault(pos, path, "it holds "+describe(n)+"; use "+f.expects())
		return nil, false
	}
	s := r.setting(tagList, "", path, pos)
	for _, item := range n.Content {
		if v, ok := r.value(item, f.elem, path, item, depth+1); ok {
			s.Items = append(s.Items, v)
		}
	}
	return s, true
}

// scalar reads a scalar, or a list of anything.
func (r *reader) scalar(n *yaml.Node, path []string, pos *yaml.Node, depth int) (any, bool) {
	if n.Kind == yaml.SequenceNode {
		s := r.setting(tagList, "", path, pos)
		for _, item := range n.Content {
			if v, ok := r.value(item, &field{kind: kindFree}, path, item, depth+1); ok {
				s.Items = append(s.Items, v)
			}
		}
		return s, true
	}
	if n.Kind != yaml.ScalarNode {
		r.fault(pos, path, "it refers to itself; write the value")
		return nil, false
	}
	switch tag := n.ShortTag(); tag {
	case tagText, tagWhole, tagFloat, tagBool, tagNull:
		return r.setting(tag, n.Value, path, pos), true
	case "!!timestamp": // a date is text here
		return r.setting(tagText, n.Value, path, pos), true
	default:
		r.fault(pos, path, "the YAML tag "+tag+" is not supported; write the value without it")
		return nil, false
	}
}

func (r *reader) setting(tag, text string, path []string, pos *yaml.Node) *setting {
	return &setting{Key: formatPath(path), Tag: tag, Text: text, From: r.at(pos), Order: r.order}
}

// describe says what a node is, never what it says.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		switch n.ShortTag() {
		case tagWhole, tagFloat:
			return "a number"
		case tagBool:
			return "true or false"
		case tagNull:
			return "nothing"
		}
		return "text"
	}
}
