package pluginhost

// logsink.go: hands a plugin's lines to the host's logger, masked and not faster than a
// fixed rate. What is too much is counted and left out, and read no faster than costs the
// host little: a plugin that floods its log fills no memory and slows only itself.

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	logBurst = 1000 // lines at once: a Go program's dying words fit
	logRate  = 200  // lines per second after that

	// tailLength lines, each of longestWords bytes, are kept for the error that tells of a death.
	tailLength   = 6
	longestWords = 300

	// floodRate is how many bytes per second are read from a plugin whose lines are being left
	// out, and floodPause after how many of them reading pauses.
	floodRate  = 8 << 20
	floodPause = 64 << 10
)

// logSink serves all processes of one host. It is safe for concurrent use.
type logSink struct {
	logger *slog.Logger
	mask   atomic.Pointer[masker]
	onDrop func(lines int)
	drops  atomic.Int64 // lines left out so far
	told   atomic.Int64 // how many of them were reported

	mu     sync.Mutex
	tokens float64
	filled time.Time
}

func newLogSink(logger *slog.Logger, onDrop func(int)) *logSink {
	return &logSink{logger: logger, onDrop: onDrop, tokens: logBurst, filled: time.Now()}
}

// allow takes a token from the bucket.
func (s *logSink) allow(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = min(logBurst, s.tokens+max(0, now.Sub(s.filled).Seconds())*logRate)
	s.filled = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// report tells how many lines were left out since the last report.
func (s *logSink) report() {
	told := s.told.Load()
	drops := s.drops.Load()
	n := drops - told
	if n == 0 || !s.told.CompareAndSwap(told, drops) { // Or somebody else reports.
		return
	}
	s.logger.Warn("plugin log lines left out, as they came too fast", slog.Int64("lines", n))
	if s.onDrop != nil {
		s.onDrop(int(n))
	}
}

// processLog is what one process writes. It is safe for concurrent use.
type processLog struct {
	sink *logSink
	life context.Context // of the process

	mu    sync.Mutex
	tail  []string // the newest lines, masked
	panic string   // how the dying words of a Go program begin
}

// writer returns a writer of what the process writes, for one goroutine. Lines that the
// filter takes are not logged; it may be nil.
func (p *processLog) writer(source string, filter func(line []byte) bool) *logWriter {
	limit := maxLine
	if filter != nil {
		limit = maxGreeting
	}
	return &logWriter{log: p, lines: lines{limit: limit, emit: func(line []byte) {
		if filter == nil || !filter(line) {
			p.line(source, line)
		}
	}}}
}

// read logs what comes from pipe until its end.
func (p *processLog) read(source string, pipe io.Reader, filter func(line []byte) bool) {
	w := p.writer(source, filter)
	_, _ = io.Copy(struct{ io.Writer }{w}, pipe) // Errors end it like the end of the pipe.
	w.lines.flush()
}

// logWriter is an io.Writer that never fails.
type logWriter struct {
	log   *processLog
	lines lines
	debt  int // bytes of a flood that were not paid for with a pause
}

// Write logs p and pauses when it is part of a flood.
func (w *logWriter) Write(p []byte) (int, error) {
	before := w.log.sink.drops.Load()
	n, err := w.lines.Write(p)
	if w.log.sink.drops.Load() != before {
		w.debt += len(p)
	}
	if w.debt >= floodPause {
		pause(w.log.life, time.Duration(w.debt)*time.Second/floodRate)
		w.debt = 0
	}
	return n, err
}

// line logs one line that came in by the given way ("stderr" or "stdout").
func (p *processLog) line(source string, line []byte) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return
	}
	dying := bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: "))
	if !p.sink.allow(time.Now()) && !dying {
		p.sink.drops.Add(1)
		return
	}
	p.sink.report()
	e := parseLine(p.sink.mask.Load().text(string(line)))
	if p.note(e, dying) {
		e.level = slog.LevelError
	}
	p.sink.hand(e, source)
}

// hand gives an entry to the logger as it is: the message is the plugin's.
func (s *logSink) hand(e entry, source string) {
	ctx := context.Background()
	if !s.logger.Enabled(ctx, e.level) {
		return
	}
	r := slog.NewRecord(time.Now(), e.level, e.message, 0)
	r.AddAttrs(e.attrs...)
	r.AddAttrs(slog.String("from", source))
	_ = s.logger.Handler().Handle(ctx, r) // Nobody could be told.
}

// note keeps what is worth it for lastWords and says whether the line belongs to a panic.
func (p *processLog) note(e entry, dying bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	words := shorten(e.summary())
	if dying && p.panic == "" {
		p.panic = words
	}
	if e.level >= slog.LevelInfo {
		if len(p.tail) == tailLength {
			p.tail = append(p.tail[:0], p.tail[1:]...)
		}
		p.tail = append(p.tail, words)
	}
	return p.panic != ""
}

// shorten cuts a text to what fits into an error.
func shorten(s string) string {
	if len(s) <= longestWords {
		return s
	}
	return strings.ToValidUTF8(s[:longestWords], "") + "…"
}

// lastWords quotes what best explains a death: the panic, or else the newest lines.
func (p *processLog) lastWords() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.panic != "":
		return strconv.Quote(p.panic)
	case len(p.tail) > 0:
		return strconv.Quote(strings.Join(p.tail, " / "))
	}
	return ""
}

// panicked says whether the process began to print a panic.
func (p *processLog) panicked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.panic != ""
}
