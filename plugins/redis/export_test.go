package redis

// export_test.go: what tests of the package from outside need from its inside.

import "context"

// Position asks how far the store is, as the process does now and then.
func (b *Backend) Position(ctx context.Context) (uint64, error) {
	r, err := b.run(ctx, positionScript)
	return r.revision, err
}

// StopProofs ends what asks how far the store is without being called, and the reader of the log.
func (b *Backend) StopProofs() {
	b.stop()
	b.running.Wait()
}

// TailLength is how many changes a process keeps at the most.
const TailLength = tailLength

// Tail is what a process keeps of the log, without a store to read it from.
type Tail struct{ *tail }

// NewTail returns one that has kept nothing yet.
func NewTail() Tail {
	t := Tail{newTail(nil)}
	t.enter(&life{epoch: "e"}, 0)
	return t
}

// Append adds the next change.
func (t Tail) Append() { t.append(t.life, []change{{revision: t.last + 1}}) }

// Take hands out changes as to a watch, and returns what it can see of them at any later time.
func (t Tail) Take(after uint64, atMost int) (revisions func() []uint64) {
	changes := t.see(after, atMost).changes
	return func() []uint64 {
		var out []uint64
		for _, c := range changes {
			out = append(out, c.revision)
		}
		return out
	}
}
