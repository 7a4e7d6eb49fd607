package config

// source.go: where a setting came from, and what is said when it is wrong.

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/marketprism/prism/core"
)

// Layer names a layer of the configuration; later ones win.
type Layer string

// The layers, in the order in which they win.
const (
	LayerDefault     Layer = "default"
	LayerFile        Layer = "file"
	LayerProfile     Layer = "profile"
	LayerEnvironment Layer = "environment"
	LayerFlag        Layer = "flag"
)

// Source says where a value came from.
type Source struct {
	Layer Layer
	Name  string // the file, the variable or the flag; "" for a default
	Line  int    // in the file, from 1; else 0
}

// String returns "file:line", the variable, the flag, or "" for a default.
func (s Source) String() string {
	if s.Line == 0 {
		return s.Name
	}
	return s.Name + ":" + strconv.Itoa(s.Line)
}

// Error is one fault of the configuration: where it stands and what is wrong. It wraps a
// core.FieldError, and so core.ErrInvalid or core.ErrUnsupported.
type Error struct {
	Source Source
	Err    error
}

// Error implements error in one sentence.
func (e *Error) Error() string {
	if at := e.Source.String(); at != "" {
		return at + ": " + e.Err.Error()
	}
	return e.Err.Error()
}

// Unwrap returns the core.FieldError.
func (e *Error) Unwrap() error { return e.Err }

// sentenceError is a fault of a whole file, which has no key; it is core.ErrInvalid.
type sentenceError string

func (e sentenceError) Error() string { return string(e) }

// Unwrap makes errors.Is(err, core.ErrInvalid) true.
func (e sentenceError) Unwrap() error { return core.ErrInvalid }

// NoticeKind says what a Notice is about.
type NoticeKind string

// The kinds of Notice.
const (
	NoticeUnknownVariable NoticeKind = "unknown_variable" // PRISM_… that names no key
	NoticeTwoVariables    NoticeKind = "two_variables"    // two variables set one key differently
	NoticeNoEffect        NoticeKind = "no_effect"        // a key that is accepted and does nothing
	NoticeEmptyFile       NoticeKind = "empty_file"       // a file without a single key
)

// Notice is something that a person should know and that stops nothing.
type Notice struct {
	Kind    NoticeKind
	Key     string // dotted; "" where there is none
	Source  Source
	Message string // one sentence without the source
}

// String returns the notice in one sentence.
func (n Notice) String() string {
	if at := n.Source.String(); at != "" {
		return at + ": " + n.Message
	}
	return n.Message
}

// maxProblems bounds how many faults one error lists.
const maxProblems = 10

// problems collects faults, so that a person sees all of them at once.
type problems []*Error

// add reports a fault. What was given may be a URL with a password in it.
func (p *problems) add(src Source, err error) {
	if fe, ok := errors.AsType[*core.FieldError](err); ok {
		safe := *fe
		safe.Given = maskGiven(fe.Given)
		err = &safe
	}
	*p = append(*p, &Error{Source: src, Err: err})
}

// addField reports a key, without repeating its value.
func (p *problems) addField(src Source, key, sentence string) {
	p.add(src, &core.FieldError{Field: key, Allowed: sentence})
}

// err joins the faults in the order of the files, one sentence a line; nil for none.
func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Source.Name, b.Source.Name), cmp.Compare(a.Source.Line, b.Source.Line))
	})
	list := make([]error, 0, maxProblems+1)
	for _, e := range p[:min(len(p), maxProblems)] {
		list = append(list, e)
	}
	if more := len(p) - maxProblems; more > 0 {
		list = append(list, fmt.Errorf("and %d more", more))
	}
	if len(list) == 1 {
		return list[0]
	}
	return errors.Join(list...)
}
