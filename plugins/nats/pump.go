package nats

// pump.go: follows the stream into the mirror, with a consumer that NATS forgets when this
// process goes. A message that is missing shows in the consumer's own count, a consumer that is
// gone in its missing heartbeat: another one goes on from there.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/prism/ports"
)

const (
	// heartbeatEvery is how often an idle consumer says that it is there, and how far it is.
	heartbeatEvery = time.Second
	// heartbeatLimit is how long nothing may come before the consumer is taken for gone.
	heartbeatLimit = 2500 * time.Millisecond
	// consumerTimeout bounds the making of one.
	consumerTimeout = 5 * time.Second
	followPause     = 100 * time.Millisecond
	// bookmarkEvery is half of what the contract allows, so that a busy machine keeps within it.
	bookmarkEvery = ports.MaxBookmarkGap / 2
	// proofTimeout bounds one of its reads.
	proofTimeout = 1500 * time.Millisecond
)

func (b *Backend) pump(ctx context.Context) {
	select {
	case <-b.seats.asked:
	case <-ctx.Done():
		return
	}
	for begun := uint64(0); ; {
		err := b.follow(ctx, &begun)
		if ctx.Err() != nil {
			return
		}
		b.pumpProblem.Store(&err)
		b.log.Debug("the stream is followed anew", "reason", err)
		if !pause(ctx, followPause) {
			return
		}
	}
}

// unknown is a number of connections that is none: the stream is read from its beginning.
const unknown = math.MaxUint64

// errConnectedAnew says that the stream has to be read again.
var errConnectedAnew = fmt.Errorf("nats: connected again meanwhile: %w", ports.ErrUnavailable)

// follow reads the stream until something is wrong. begun is how often we had been connected again when its reading
// last began: since then a server that came back may have lost, or found, what it had before, and all is read.
func (b *Backend) follow(ctx context.Context, begun *uint64) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b.interrupt.Store(&cancel)
	// What is asked waits for a server that is away, so each step may be the one during which it came back.
	connections := b.remote.conn.Stats().Reconnects
	anew := func() bool { return b.remote.conn.Stats().Reconnects != connections }
	start, done := context.WithTimeout(ctx, consumerTimeout)
	defer done()
	now, err := b.current(start)
	if err != nil {
		return err
	}
	info, err := b.remote.info(start)
	if err != nil {
		return err
	}
	if info.Config.Replicas == 1 { // the one server that has the stream need not be the one that we are connected to
		defer func() {
			if !errors.Is(err, context.Canceled) {
				*begun = unknown
			}
		}()
	}
	seat := int(b.seats.held.Load())
	followed := b.names.followed(seat)
	latest, err := b.remote.get(start, followed)
	if err != nil {
		return err
	}
	f := &following{backend: b, life: now, last: info.State.LastSeq, replicas: info.Config.Replicas}
	if latest != nil {
		f.latest = latest.seq
	}
	if anew() {
		return errConnectedAnew
	}
	from := b.mirror.begin(now, connections != *begun, seat, followed)
	*begun = connections // what was begun whole is, by the mirror, until it is done
	sub, err := b.consume(start, from, followed)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // it is only forgotten
	if err := f.passed(ctx, from-1); err != nil {
		return err
	}
	for {
		wait, done := context.WithTimeout(ctx, heartbeatLimit)
		msg, err := sub.NextMsgWithContext(wait)
		done()
		if err == nil && anew() {
			return errConnectedAnew
		}
		if err == nil {
			err = f.take(ctx, msg)
		}
		switch {
		case err == nil:
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("no heartbeat of the consumer for %s: %w", heartbeatLimit, ports.ErrUnavailable)
		default:
			return fail(err)
		}
		if b.life.Load() != now {
			return errMovedOn
		}
	}
}

// consume makes a consumer from a sequence on, of the epoch and what is followed.
func (b *Backend) consume(ctx context.Context, from uint64, followed string) (*nats.Subscription, error) {
	sub, err := b.remote.conn.SubscribeSync(b.remote.conn.NewInbox())
	if err == nil {
		err = sub.SetPendingLimits(-1, -1) // flow control bounds what is on its way
	}
	if err != nil {
		return nil, fail(err)
	}
	name := "prism-" + rand.Text()
	err = b.remote.ask(ctx, fmt.Sprintf("$JS.API.CONSUMER.CREATE.%s.%s", b.names.stream, name), func(ctx context.Context) error {
		_, err := b.remote.js.CreatePushConsumer(ctx, b.names.stream, jetstream.ConsumerConfig{
			Name: name, DeliverSubject: sub.Subject, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
			FilterSubjects: []string{b.names.epoch(), followed},
			AckPolicy:      jetstream.AckNonePolicy, FlowControl: true, IdleHeartbeat: heartbeatEvery, MemoryStorage: true, Replicas: 1,
		})
		if errors.Is(err, jetstream.ErrConsumerExists) { // the answer to an earlier attempt was lost
			err = nil
		}
		return err
	})
	if err != nil {
		_ = sub.Unsubscribe() // nothing comes to it
		return nil, err
	}
	return sub, nil
}

// following is one consumer's account.
type following struct {
	backend  *Backend
	life     *life
	last     uint64 // of the stream, before the consumer was made
	latest   uint64 // of what is followed, a moment later; the consumer says nothing of what is not
	received uint64 // messages of the consumer
	caughtUp bool
	replicas int // of the stream
}

// A leader that has just been elected may answer before it has applied all that it holds, and then seems to have lost
// it. Where there can be another leader, what it says counts only when it says so this often.
const (
	saidAtLeast = 4
	saidEvery   = 500 * time.Millisecond
)

// take takes one message of the consumer.
func (f *following) take(ctx context.Context, msg *nats.Msg) error {
	b := f.backend
	if msg.Header.Get("Status") == "100" {
		return f.control(ctx, msg)
	}
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("a message of the stream cannot be read: %w", err)
	}
	if f.received++; meta.Sequence.Consumer != f.received {
		return fmt.Errorf("message %d of the consumer came as its %d.: %w", meta.Sequence.Consumer, f.received, ports.ErrUnavailable)
	}
	f.life.note(meta.Sequence.Stream)
	if err := b.takeMessage(f.life, msg.Subject, &message{seq: meta.Sequence.Stream, stored: meta.Timestamp, data: msg.Data, header: msg.Header}); err != nil {
		return err
	}
	return f.passed(ctx, meta.Sequence.Stream)
}

// control takes a message of the consumer itself: a heartbeat, or a question whether all came.
func (f *following) control(ctx context.Context, msg *nats.Msg) error {
	reply := msg.Reply
	if reply == "" {
		reply = msg.Header.Get("Nats-Consumer-Stalled")
	}
	if reply != "" {
		if err := f.backend.remote.conn.Publish(reply, nil); err != nil {
			return err
		}
	}
	last := msg.Header.Get("Nats-Last-Consumer")
	if last == "" { // a question
		return nil
	}
	if sent, err := strconv.ParseUint(last, 10, 64); err != nil || sent != f.received {
		return fmt.Errorf("%d of %s messages of the consumer came: %w", f.received, last, ports.ErrUnavailable)
	}
	if upTo, err := strconv.ParseUint(msg.Header.Get("Nats-Last-Stream"), 10, 64); err == nil {
		f.backend.mirror.moveTo(f.life, upTo)
		return f.passed(ctx, upTo)
	}
	return nil
}

// passed tells the mirror, once, when this consumer has passed what stood at the beginning.
func (f *following) passed(ctx context.Context, upTo uint64) error {
	if f.caughtUp || upTo < f.latest {
		return nil
	}
	f.caughtUp = true
	b := f.backend
	missing := b.mirror.unseen()
	for said := 1; ; said++ {
		gone, undone, err := b.without(ctx, missing, f.last)
		switch {
		case err != nil:
			return err
		case !undone:
			b.mirror.caughtUpNow(f.last, gone)
			return nil
		case f.replicas <= 1 || said == saidAtLeast:
			return b.runsBackwards(ctx, f.life)
		case !pause(ctx, saidEvery):
			return ctx.Err()
		}
	}
}

// without asks the leader what became of entries that did not come again: which of them are gone, and whether one was
// undone. They are rare, so it is asked about each. Whatever removes one leaves the stream's last sequence at or above
// its own: an entry beyond it was never removed, but lost.
func (b *Backend) without(ctx context.Context, missing []*entry, last uint64) (gone []*entry, undone bool, err error) {
	if len(missing) == 0 {
		return nil, false, nil
	}
	subjects := make([]string, len(missing))
	for i, e := range missing {
		subjects[i] = b.names.record(e.key)
	}
	_, stands, err := b.read(ctx, subjects...)
	if err != nil {
		return nil, false, err
	}
	for i, e := range missing {
		switch m := stands[i]; {
		case m == nil && e.seq > last, m != nil && e.undoneBy(m.seq, m.stored):
			undone = true
		case m == nil:
			gone = append(gone, e)
		}
	}
	return gone, undone, nil
}

// takeMessage takes what stands at a subject into the mirror.
func (b *Backend) takeMessage(now *life, subject string, m *message) error {
	if subject == b.names.epoch() {
		b.mirror.moveTo(now, m.seq)
		_, err := b.recognize(m, now)
		return err
	}
	if id, ok := b.names.sessionID(subject); ok {
		b.mirror.takeSession(id, readSession(m))
		return nil
	}
	key, ok := b.names.key(subject)
	if !ok {
		b.mirror.moveTo(now, m.seq)
		return nil
	}
	e := newEntry(key, m)
	now.stamp(e.doc, m.seq)
	b.mirror.takeRecord(e, m.marker())
	return nil
}

// prove asks the stream's leader now and then how far it is: what every bookmark rests on.
func (b *Backend) prove(ctx context.Context) {
	tick := time.NewTicker(bookmarkEvery)
	defer tick.Stop()
	for behind := 0; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		call, cancel := context.WithTimeout(ctx, proofTimeout)
		err := b.proof(call, &behind)
		cancel()
		if err != nil && ctx.Err() == nil {
			b.log.Debug("the stream's leader does not say how far it is", "error", err)
		}
	}
}

// sameCreation is how far two accounts of one stream's making lie apart: servers of 2.11 give
// another one after a restart, by milliseconds.
const sameCreation = time.Second

// proof asks once. Behind counts how often in a row a leader has said less than what had been seen before.
func (b *Backend) proof(ctx context.Context, behind *int) error {
	now := b.life.Load()
	if now == nil {
		return nil // the pump reads it
	}
	floor := now.seen.Load()
	info, err := b.remote.info(ctx)
	if errors.Is(err, errStreamGone) {
		_, err = b.current(ctx) // makes it anew
	}
	if err != nil || info == nil {
		return err
	}
	last, made := info.State.LastSeq, info.Created.UnixNano()
	before := now.made.Swap(made)
	moved := before != 0 && time.Duration(made-before).Abs() > sameCreation
	if last >= floor {
		*behind = 0
	} else if *behind++; !moved && info.Config.Replicas > 1 && *behind < saidAtLeast {
		return fmt.Errorf("nats: it says that it is at %d, and %d has been seen: %w", last, floor, ports.ErrUnavailable)
	}
	if moved || last < floor || info.State.Msgs == 0 {
		return b.replaceEpoch(ctx, now, "its sequences run backwards, or it was made anew")
	}
	now.note(last)
	b.mirror.proved(now, last)
	_, err = b.catchUp(ctx, now, last)
	return err
}
