package memory

// fading.go: a map that forgets each entry a fixed time after it was set.

import "time"

// fading is not safe for concurrent use. Entries are forgotten by sweep only, so they are
// kept for their life at the least.
type fading[K comparable, V any] struct {
	life    time.Duration
	entries map[K]faded[V]
	queue   []due[K] // in order of time, as every entry lives equally long
}

type faded[V any] struct {
	value V
	until time.Time
}

type due[K comparable] struct {
	key   K
	until time.Time
}

func newFading[K comparable, V any](life time.Duration) fading[K, V] {
	return fading[K, V]{life: life, entries: make(map[K]faded[V])}
}

func (f *fading[K, V]) set(key K, value V, now time.Time) {
	until := now.Add(f.life)
	f.entries[key] = faded[V]{value: value, until: until}
	f.queue = append(f.queue, due[K]{key: key, until: until})
}

func (f *fading[K, V]) get(key K) (V, bool) {
	e, ok := f.entries[key]
	return e.value, ok
}

// sweep forgets what is over. An entry that was set again in the meantime lives on.
func (f *fading[K, V]) sweep(now time.Time) {
	for len(f.queue) > 0 && !now.Before(f.queue[0].until) {
		head := f.queue[0]
		f.queue = f.queue[1:]
		if f.entries[head.key].until.Equal(head.until) {
			delete(f.entries, head.key)
		}
	}
}
