package hoststate

// journal.go: what is noted is written at once by one goroutine; what somebody waits for is
// made safe with one fsync for all who wait. When the file cannot be written it is removed:
// a state that lags behind would have acknowledged registrations taken for orphans.

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// slack is how many lines beyond twice the live ones a file may have.
	slack = 4096
	// aliveGap is the shortest time between two lines that say that the host lives.
	aliveGap = time.Second
	// retryAfter is how long a file that could not be written is left alone.
	retryAfter = 5 * time.Second
)

// Journal implements ports.Journal. It is safe for concurrent use.
type Journal struct {
	opt  Options
	path string
	lock *flock.Flock
	left ports.Recalled
	kick chan struct{} // capacity 1: there is something to write
	done chan struct{}
	stop context.CancelFunc

	mu      sync.Mutex // guards what follows; never held across I/O
	pending []ports.Note
	waiters []chan struct{}
	closed  bool

	// Of the goroutine alone.
	file    *os.File // nil: it could not be written
	live    *live
	lines   int
	failure time.Time // when writing failed last; zero once it works
}

// live is the state that the lines come to.
type live struct {
	epoch     string
	alive     time.Time
	sessions  map[ports.SessionID]*ports.NotedSession
	instances map[core.Key]*ports.NotedInstance
}

func newLive(from ports.Recalled) *live {
	l := &live{
		epoch: from.Epoch, alive: from.Alive,
		sessions: map[ports.SessionID]*ports.NotedSession{}, instances: map[core.Key]*ports.NotedInstance{},
	}
	for i := range from.Sessions {
		l.sessions[from.Sessions[i].ID] = &from.Sessions[i]
	}
	for i := range from.Instances {
		l.instances[from.Instances[i].Record.Key] = &from.Instances[i]
	}
	return l
}

// take carries out one change; false when it says nothing that needs a line.
func (l *live) take(n ports.Note) bool {
	switch {
	case n.Epoch != "":
		l.epoch = n.Epoch
	case n.Opened != nil:
		l.sessions[n.Opened.ID] = n.Opened
	case n.Ended != "":
		delete(l.sessions, n.Ended)
	case n.Held != nil:
		l.instances[n.Held.Record.Key] = n.Held
	case n.Released != core.Key{}:
		delete(l.instances, n.Released)
	default:
		if n.Alive.Sub(l.alive) < aliveGap {
			return false
		}
		l.alive = n.Alive
	}
	return true
}

// notes are the changes that lead to the state from nothing.
func (l *live) notes() []ports.Note {
	out := make([]ports.Note, 0, len(l.sessions)+len(l.instances)+2)
	if l.epoch != "" {
		out = append(out, ports.Note{Epoch: l.epoch})
	}
	if !l.alive.IsZero() {
		out = append(out, ports.Note{Alive: l.alive})
	}
	for _, s := range l.sessions {
		out = append(out, ports.Note{Opened: s})
	}
	for _, in := range l.instances {
		out = append(out, ports.Note{Held: in})
	}
	return out
}

func (l *live) recalled() ports.Recalled {
	out := ports.Recalled{Epoch: l.epoch, Alive: l.alive}
	for _, s := range l.sessions {
		out.Sessions = append(out.Sessions, *s)
	}
	for _, in := range l.instances {
		out.Instances = append(out.Instances, *in)
	}
	return out
}

// Note implements ports.Journal.
func (j *Journal) Note(changes ...ports.Note) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	j.pending = append(j.pending, changes...)
	j.wake()
}

// Sync implements ports.Journal.
func (j *Journal) Sync(ctx context.Context) {
	safe := make(chan struct{})
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return
	}
	j.waiters = append(j.waiters, safe)
	j.wake()
	j.mu.Unlock()
	select {
	case <-safe:
	case <-ctx.Done():
	}
}

// wake is called with the lock held, so that nothing is noted after the last look.
func (j *Journal) wake() {
	select {
	case j.kick <- struct{}{}:
	default:
	}
}

// Close writes what is noted and gives the state free for another host. What is noted later is
// ignored.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.mu.Unlock()
	j.stop()
	<-j.done
	var err error
	if j.file != nil {
		err = j.file.Close()
	}
	return errors.Join(err, j.lock.Close())
}

func (j *Journal) begin() {
	ctx, stop := context.WithCancel(context.Background())
	j.stop, j.done = stop, make(chan struct{})
	go j.run(ctx)
}

func (j *Journal) run(ctx context.Context) {
	defer close(j.done)
	for last := false; !last; {
		select {
		case <-j.kick:
		case <-ctx.Done():
			last = true
		}
		j.mu.Lock()
		notes, waiters := j.pending, j.waiters
		j.pending, j.waiters = nil, nil
		j.mu.Unlock()
		j.write(notes, len(waiters) > 0 || last)
		for _, w := range waiters {
			close(w)
		}
	}
}

// write brings the file up to date.
func (j *Journal) write(notes []ports.Note, safe bool) {
	var out []byte
	var err error
	for _, n := range notes {
		if !j.live.take(n) {
			continue
		}
		var e error
		out, e = appendLine(out, n)
		err = errors.Join(err, e)
		j.lines++
	}
	switch {
	case err != nil:
	case j.file == nil && time.Since(j.failure) < retryAfter:
		return
	case j.file == nil, j.lines > 2*(len(j.live.sessions)+len(j.live.instances))+slack:
		err = j.rewrite()
	default:
		if _, err = j.file.Write(out); err == nil && safe {
			err = j.file.Sync()
		}
	}
	switch {
	case err != nil:
		j.fail(err)
	case !j.failure.IsZero():
		j.failure = time.Time{}
		j.opt.Logger.Info("the state of this host is written again", slog.String("file", j.path))
	}
}

// fail gives the file up until later.
func (j *Journal) fail(err error) {
	if j.file != nil {
		_ = j.file.Close()
		j.file = nil
	}
	first := j.failure.IsZero()
	j.failure = time.Now()
	removed := os.Remove(j.path)
	if !first {
		return
	}
	if errors.Is(removed, fs.ErrNotExist) {
		removed = nil
	}
	j.opt.Logger.Error("the state of this host cannot be written; until it can, a restart loses instances without heartbeats",
		slog.String("option", option), slog.String("file", j.path), slog.Any("error", errors.Join(err, removed)))
}

// rewrite replaces the file by one that holds the present state and nothing else.
func (j *Journal) rewrite() error {
	head, err := json.Marshal(j.opt.header())
	if err != nil {
		return err
	}
	out := append(head, '\n')
	notes := j.live.notes()
	for _, n := range notes {
		if out, err = appendLine(out, n); err != nil {
			return err
		}
	}
	next := j.path + ".next"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(out); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = j.replace(next)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	j.lines = len(notes)
	return nil
}

// replace puts a complete file in the place of the present one, and goes on with it.
func (j *Journal) replace(next string) error {
	if j.file != nil {
		_ = j.file.Close() // an open file cannot be replaced on Windows; every line of it is in the next
		j.file = nil
	}
	if err := os.Rename(next, j.path); err != nil {
		return err
	}
	syncFolder(filepath.Dir(j.path))
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Seek(0, io.SeekEnd)
	j.file = f
	return err
}

// syncFolder makes a rename safe, where the system can.
func syncFolder(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	_ = d.Sync() // some file systems refuse, and all order the rename behind the file's content
	_ = d.Close()
}
