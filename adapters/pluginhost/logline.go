package pluginhost

// logline.go: reads one line of a plugin's log. go-plugin's own parser panics when a line
// is JSON of other types than it expects, so it never sees one.

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
)

// levelTrace is hclog's level below debug.
const levelTrace = slog.LevelDebug - 4

// entry is one line, understood.
type entry struct {
	level   slog.Level
	message string
	attrs   []slog.Attr
}

// summary is the message with the error that it tells of.
func (e entry) summary() string {
	for _, a := range e.attrs {
		if a.Key == "error" || a.Key == "err" {
			return e.message + ": " + a.Value.String()
		}
	}
	return e.message
}

// Keys under which the usual loggers (hclog, slog, zap, zerolog) write the same things.
var (
	levelKeys   = []string{"@level", "level"}
	messageKeys = []string{"@message", "msg", "message"}
	timeKeys    = []string{"@timestamp", "time", "ts", "timestamp"}
)

// parseLine never fails: what is no JSON object is text, and text without a level is info.
func parseLine(line string) entry {
	if strings.HasPrefix(line, "{") {
		var fields map[string]any
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.UseNumber()
		if err := decoder.Decode(&fields); err == nil && fields != nil {
			return parseFields(fields, line)
		}
	}
	if rest, ok := strings.CutPrefix(line, "["); ok {
		if word, message, ok := strings.Cut(rest, "]"); ok {
			if level, ok := levelOf(word); ok {
				return entry{level: level, message: strings.TrimSpace(message)}
			}
		}
	}
	return entry{level: slog.LevelInfo, message: line}
}

func parseFields(fields map[string]any, line string) entry {
	e := entry{level: slog.LevelInfo, message: line}
	if word, ok := take(fields, levelKeys); ok {
		if level, ok := levelOf(word); ok {
			e.level = level
		}
	}
	message, ok := take(fields, messageKeys)
	if !ok {
		return e // Not a logger's; the whole line is the message.
	}
	e.message = message
	take(fields, timeKeys)
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		e.attrs = append(e.attrs, slog.Any(key, plain(fields[key])))
	}
	return e
}

// take removes the first of keys that is there and returns its value as text.
func take(fields map[string]any, keys []string) (string, bool) {
	for _, key := range keys {
		if value, ok := fields[key]; ok {
			delete(fields, key)
			return fmt.Sprint(plain(value)), true
		}
	}
	return "", false
}

// plain turns what is no string into the JSON that it was.
func plain(value any) any {
	switch v := value.(type) {
	case string, bool:
		return v
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		return string(text)
	}
}

func levelOf(word string) (slog.Level, bool) {
	switch strings.ToUpper(strings.TrimSpace(word)) {
	case "TRACE":
		return levelTrace, true
	case "DEBUG":
		return slog.LevelDebug, true
	case "INFO":
		return slog.LevelInfo, true
	case "WARN", "WARNING":
		return slog.LevelWarn, true
	case "ERROR", "ERR", "FATAL", "PANIC":
		return slog.LevelError, true
	}
	return 0, false
}
