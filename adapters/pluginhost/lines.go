package pluginhost

// lines.go: cuts what a plugin writes into lines, in bounded memory.

import "bytes"

const (
	// maxLine is the longest line that is kept of what a plugin writes; the rest is left out.
	maxLine = 8 << 10
	// maxGreeting is the same for lines that may be the handshake, with its certificate.
	maxGreeting = 64 << 10
)

// lines is an io.Writer that hands on each line without its end. One goroutine writes.
type lines struct {
	limit int
	emit  func(line []byte) // must not retain line

	pending  []byte
	skipping bool // the rest of a line that was too long
}

// Write never fails.
func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		chunk := p
		if end >= 0 {
			chunk, p = p[:end], p[end+1:]
		} else {
			p = nil
		}
		l.add(chunk, end >= 0)
	}
	return n, nil
}

func (l *lines) add(chunk []byte, complete bool) {
	if !l.skipping {
		switch room := l.limit - len(l.pending); {
		case len(chunk) > room:
			l.emit(append(l.pending, chunk[:room]...))
			l.pending, l.skipping = l.pending[:0], true
		case complete && len(l.pending) == 0: // The usual case copies nothing.
			l.emit(bytes.TrimSuffix(chunk, []byte{'\r'}))
		case complete:
			l.emit(bytes.TrimSuffix(append(l.pending, chunk...), []byte{'\r'}))
			l.pending = l.pending[:0]
		default:
			l.pending = append(l.pending, chunk...)
		}
	}
	if complete {
		l.skipping = false
	}
}

// flush hands on a last line that has no end.
func (l *lines) flush() {
	if len(l.pending) > 0 {
		l.emit(l.pending)
		l.pending = l.pending[:0]
	}
}
