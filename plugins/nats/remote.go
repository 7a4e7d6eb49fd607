package nats

// remote.go: the few requests that all else is made of. One that has no answer is sent again
// until its context ends: a leader may have been lost on the way.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/prism/adapters/backendkit"
)

const (
	// attemptTimeout is how long one attempt waits. It is below the least time in which a cluster
	// elects: what a leader that was replaced meanwhile answers late is not believed.
	attemptTimeout = time.Second
	// attemptPause is between attempts of what failed at once.
	attemptPause = 50 * time.Millisecond
	// inFlight is how many requests of one call are on their way together.
	inFlight = 64
)

// remote is the stream of one namespace. It is safe for concurrent use.
type remote struct {
	conn     *connection
	js       jetstream.JetStream
	names    layout
	replicas int

	mu     sync.Mutex // guards stream; held by none during a request
	stream jetstream.Stream
}

// message is what stands at a subject.
type message struct {
	seq    uint64
	stored time.Time
	data   []byte
	header nats.Header
}

// marker reports whether the message is NATS' own, of one that ran out.
func (m *message) marker() bool { return m.header.Get(jetstream.MarkerReasonHeader) != "" }

// get reads what stands at a subject from the stream's leader; nil for nothing.
func (r *remote) get(ctx context.Context, subject string) (*message, error) {
	var got *message
	err := r.ask(ctx, "$JS.API.STREAM.MSG.GET."+r.names.stream, func(ctx context.Context) error {
		stream, err := r.handle(ctx)
		if err != nil {
			return err
		}
		raw, err := stream.GetLastMsgForSubject(ctx, subject)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return nil
		case err != nil:
			return err
		}
		got = &message{seq: raw.Sequence, stored: raw.Time, data: raw.Data, header: raw.Header}
		return nil
	})
	return got, err
}

// next is the sequence of the first message from a sequence on, of those at a subject with wildcards, as the
// stream's leader has it; 0 for none.
func (r *remote) next(ctx context.Context, subject string, from uint64) (uint64, error) {
	var seq uint64
	err := r.ask(ctx, "$JS.API.STREAM.MSG.GET."+r.names.stream, func(ctx context.Context) error {
		stream, err := r.handle(ctx)
		if err != nil {
			return err
		}
		raw, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return nil
		case err != nil:
			return err
		}
		seq = raw.Sequence
		return nil
	})
	return seq, err
}

func (r *remote) infoSubject() string { return "$JS.API.STREAM.INFO." + r.names.stream }

// info asks the stream's leader how far it is.
func (r *remote) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	var info *jetstream.StreamInfo
	err := r.ask(ctx, r.infoSubject(), func(ctx context.Context) error {
		stream, err := r.handle(ctx)
		if err == nil {
			info, err = stream.Info(ctx)
		}
		return err
	})
	return info, err
}

// write is a message to publish.
type write struct {
	subject  string
	data     []byte
	ttl      time.Duration // in whole seconds; 0: it stays
	expected uint64        // what stands at the subject; 0: nothing
	anyway   bool          // whatever stands there
	id       string        // the same for each attempt, so that it is carried out once
	repeated bool          // an earlier attempt may have been carried out
}

// errOvertaken is ErrStale where that does not say whether the write was carried out before.
var errOvertaken = fmt.Errorf("others wrote since it was first sent: %w", backendkit.ErrStale)

// publish writes and returns the message's sequence. backendkit.ErrStale: something else
// stands there, or the stream is another one. Of a write that had to be sent again it is errOvertaken: the first may
// have been carried out, and what it wrote been replaced.
func (r *remote) publish(ctx context.Context, w write) (uint64, error) {
	msg := &nats.Msg{Subject: w.subject, Data: w.data, Header: make(nats.Header)}
	msg.Header.Set(nats.MsgIdHdr, w.id)
	if !w.anyway {
		msg.Header.Set(nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(w.expected, 10))
	}
	if w.ttl > 0 {
		msg.Header.Set(nats.MsgTTLHdr, strconv.FormatInt(seconds(w.ttl), 10))
	}
	msg.Header.Set(nats.ExpectedStreamHdr, r.names.stream)
	var seq uint64
	overtaken := false
	err := r.ask(ctx, w.subject, func(ctx context.Context) error {
		ack, err := r.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
		if isStale(err) && w.repeated {
			// A server alone looks at what is expected before it looks for the message's id.
			stands, failed := r.get(ctx, w.subject)
			switch {
			case failed != nil && ctx.Err() != nil:
				return ctx.Err() // it is sent once more, and looked at again
			case failed != nil:
				return failed
			case stands != nil && stands.header.Get(nats.MsgIdHdr) == w.id:
				seq = stands.seq
				return nil
			}
			overtaken = true
		}
		w.repeated = true
		switch {
		case errors.Is(err, jetstream.ErrNoStreamResponse):
			if _, gone := r.info(ctx); errors.Is(gone, errStreamGone) {
				return gone
			}
			return err
		case err != nil:
			return err
		}
		seq = ack.Sequence
		return nil
	})
	switch {
	case overtaken:
		return 0, errOvertaken
	case isStale(err), errors.Is(err, errStreamGone):
		return 0, backendkit.ErrStale
	}
	return seq, err
}

// seconds are whole ones, rounded up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// ask repeats a request until it has an answer. Its error wraps a sentinel, or is the answer's
// for isStale, or errStreamGone.
func (r *remote) ask(ctx context.Context, subject string, request func(ctx context.Context) error) error {
	ctx, done := r.conn.watching(ctx, subject)
	defer done()
	var last error // why an attempt failed before its time was over
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := request(attempt)
		cancel()
		switch {
		case err == nil:
			return nil
		case isStale(err), errors.Is(err, errStreamGone):
			return err
		case errors.Is(err, jetstream.ErrStreamNotFound):
			r.forget()
			return errStreamGone
		case ctx.Err() == nil && !isTransient(err):
			return fail(err)
		}
		if why := r.conn.refusal(); why != nil {
			return why
		}
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			last = err
		}
		if ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || pause(ctx, attemptPause)) {
			continue
		}
		if cause := context.Cause(ctx); backendkit.HasSentinel(cause) {
			return cause
		}
		if last != nil {
			return fail(last)
		}
		return fail(ctx.Err())
	}
}

// pause waits; false when the context ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// handle is the client's for the stream, made when first asked for.
func (r *remote) handle(ctx context.Context) (jetstream.Stream, error) {
	r.mu.Lock()
	stream := r.stream
	r.mu.Unlock()
	if stream != nil {
		return stream, nil
	}
	ctx, done := r.conn.watching(ctx, r.infoSubject())
	defer done()
	stream, err := r.js.Stream(ctx, r.names.stream)
	if cause := context.Cause(ctx); err != nil && backendkit.HasSentinel(cause) {
		return nil, cause
	}
	if err != nil {
		return nil, err
	}
	if err := r.names.checkStream(stream.CachedInfo().Config); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.stream = stream
	r.mu.Unlock()
	return stream, nil
}

// forget drops the handle, so that the stream is looked at anew.
func (r *remote) forget() {
	r.mu.Lock()
	r.stream = nil
	r.mu.Unlock()
}

// answerable tells whether the server's questions how far we are may be answered. It asks under load only, and without an
// answer sends nothing more.
func (r *remote) answerable(ctx context.Context) error {
	subject := "$JS.FC." + r.names.stream + ".prism.asked" // by nobody
	if err := r.conn.Publish(subject, nil); err != nil {
		return fail(err)
	}
	if err := r.conn.FlushWithContext(ctx); err != nil {
		return fail(err)
	}
	if err := r.conn.LastError(); errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(violated(err), subject) {
		return fail(err)
	}
	return nil
}

// create makes the stream where it is not there. Who is second finds it made.
func (r *remote) create(ctx context.Context) error {
	return r.ask(ctx, "$JS.API.STREAM.CREATE."+r.names.stream, func(ctx context.Context) error {
		if _, err := r.handle(ctx); !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		_, err := r.js.CreateStream(ctx, r.names.config(r.replicas))
		if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err
		}
		_, err = r.handle(ctx)
		return err
	})
}
