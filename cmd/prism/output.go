package main

// output.go: the forms of an answer: a table for people, JSON and YAML for programs.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

func (a *app) checkOutput() error {
	switch a.output {
	case formatTable, formatJSON, formatYAML:
		return nil
	}
	return usageError{fmt.Errorf("--output: %q is not allowed; use table, json or yaml", a.output)}
}

// show prints an answer: v as JSON or YAML, or what table writes.
func (a *app) show(v any, table func(*grid)) error {
	switch a.output {
	case formatJSON:
		return writeJSON(a.stdout, v)
	case formatYAML:
		return writeYAML(a.stdout, v)
	}
	g := &grid{}
	table(g)
	return g.write(a.stdout)
}

// item prints one of a sequence of answers: a line of JSON, a YAML document, or a line of text.
func (a *app) item(v any, line string) error {
	switch a.output {
	case formatJSON:
		b, err := marshal(v)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%s\n", b)
		return err
	case formatYAML:
		if _, err := fmt.Fprintln(a.stdout, "---"); err != nil {
			return err
		}
		return writeYAML(a.stdout, v)
	}
	_, err := fmt.Fprintln(a.stdout, printable(line))
	return err
}

func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}

func writeJSON(w io.Writer, v any) error {
	b, err := marshal(v)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = w.Write(out.Bytes())
	return err
}

// writeYAML writes the JSON form as YAML, which keeps the order of fields and the digits of
// large numbers.
func writeYAML(w io.Writer, v any) error {
	b, err := marshal(v)
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(b, &node); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	plain(&node)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	return enc.Close()
}

// otherwiseRead are texts that older readers of YAML (1.1) take for booleans and numbers.
var otherwiseRead = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)$`)

// plain takes JSON's brackets and quotes off; quotes that a text needs come back or stay.
func plain(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || !otherwiseRead.MatchString(n.Value) {
		n.Style = 0
	}
	if len(n.Content) == 0 && n.Kind != yaml.ScalarNode {
		n.Style = yaml.FlowStyle // [] and {}
	}
	for _, child := range n.Content {
		plain(child)
	}
}

// grid is a table for people.
type grid struct {
	rows [][]string
	note string // a line below
}

func (g *grid) row(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	g.rows = append(g.rows, cells)
}

// printable takes out what would act on a terminal: the words of others are shown there.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// write aligns the columns and, on a terminal, colours statuses.
func (g *grid) write(w io.Writer) error {
	var widths []int
	for _, row := range g.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	paint := painter(w)
	var out strings.Builder
	for _, row := range g.rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(paint(cell))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	if g.note != "" {
		out.WriteString(g.note + "\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}

var colours = map[string]string{
	"healthy": "32", "unhealthy": "31", "unknown": "33", "starting": "33", "maintenance": "36", "stopping": "36",
}

// painter colours nothing unless w is a terminal and NO_COLOR (https://no-color.org) is not set.
func painter(w io.Writer) func(string) string {
	if os.Getenv("NO_COLOR") != "" || !terminal(w) {
		return func(cell string) string { return cell }
	}
	return func(cell string) string {
		if colour, ok := colours[cell]; ok {
			return "\x1b[" + colour + "m" + cell + "\x1b[0m"
		}
		return cell
	}
}

// terminal reports whether w is a terminal that can do more than append lines.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
