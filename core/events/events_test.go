package events_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/events"
)

// open returns a bus of the life "x" that is closed with the test.
func open(t *testing.T, history int) *events.Bus {
	t.Helper()
	b := events.New(events.Options{History: history, Life: "x"})
	t.Cleanup(func() { require.NoError(t, b.Close(context.Background())) })
	return b
}

// publish publishes events with the ids from to to, which equal their numbers.
func publish(b *events.Bus, from, to int) {
	for n := from; n <= to; n++ {
		b.Publish(core.Event{Type: core.EventRegistered, Service: "web", ID: strconv.Itoa(n)})
	}
}

func subscribe(t *testing.T, b *events.Bus, o events.SubscribeOptions) *events.Subscription {
	t.Helper()
	s, err := b.Subscribe(o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// take reads n items and writes each as a word: an id, "reset" or "lagged N".
func take(t *testing.T, s *events.Subscription, n int) []string {
	t.Helper()
	var out []string
	for range n {
		item, err := s.Next(t.Context())
		require.NoError(t, err)
		switch {
		case item.Reset:
			out = append(out, "reset")
		case item.Lagged > 0:
			out = append(out, fmt.Sprintf("lagged %d", item.Lagged))
		default:
			out = append(out, item.Event.ID)
		}
	}
	return out
}

// nothing asserts that a subscription has no item now.
func nothing(t *testing.T, s *events.Subscription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	item, err := s.Next(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "%+v", item)
}

func ids(list []core.Event) []string {
	out := []string{}
	for _, e := range list {
		out = append(out, e.ID)
	}
	return out
}

func TestPublishStamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := events.New(events.Options{Life: "x"})
		first := b.Publish(core.Event{ID: "a", Time: time.Unix(1, 0), Cursor: "given"})
		<-time.After(time.Second)
		second := b.Publish(core.Event{ID: "b"})
		assert.Equal(t, "x-1", first.Cursor)
		assert.Equal(t, "x-2", second.Cursor)
		assert.Equal(t, time.Second, second.Time.Sub(first.Time))
		require.NoError(t, b.Close(t.Context()))
		assert.Equal(t, core.Event{ID: "c"}, b.Publish(core.Event{ID: "c"}), "after Close nothing is published")
		list, _, _, err := b.History(events.HistoryQuery{})
		require.NoError(t, err)
		assert.Equal(t, []string{"a", "b"}, ids(list))
	})
}

func TestLivesDiffer(t *testing.T) {
	a, b := events.New(events.Options{}), events.New(events.Options{})
	assert.NotEqual(t, a.Publish(core.Event{}).Cursor, b.Publish(core.Event{}).Cursor)
	require.NoError(t, a.Close(t.Context()))
	require.NoError(t, b.Close(t.Context()))
}

func TestSubscribeGivesNewEventsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, 8)
		publish(b, 1, 3)
		s := subscribe(t, b, events.SubscribeOptions{})
		nothing(t, s)
		publish(b, 4, 5)
		assert.Equal(t, []string{"4", "5"}, take(t, s, 2))
		nothing(t, s)
	})
}

func TestNextWaitsForNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, 8)
		s := subscribe(t, b, events.SubscribeOptions{})
		go func() {
			<-time.After(time.Minute)
			publish(b, 1, 1)
		}()
		start := time.Now()
		assert.Equal(t, []string{"1"}, take(t, s, 1))
		assert.Equal(t, time.Minute, time.Since(start))
	})
}

func TestReplayThenFollow(t *testing.T) {
	for after, want := range map[string][]string{
		"x-6":                    {"7"},
		"x-5":                    {"6", "7"},
		"x-2":                    {"3", "4", "5", "6", "7"},
		"x-1":                    {"reset", "3", "4", "5", "6", "7"},
		"x-0":                    {"reset", "3", "4", "5", "6", "7"},
		"x-9":                    {"reset", "3", "4", "5", "6", "7"},
		"y-6":                    {"reset", "3", "4", "5", "6", "7"},
		"nonsense":               {"reset", "3", "4", "5", "6", "7"},
		"x-18446744073709551615": {"reset", "3", "4", "5", "6", "7"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := open(t, 5)
			publish(b, 1, 7) // kept: 3 to 7
			s := subscribe(t, b, events.SubscribeOptions{After: after})
			assert.Equal(t, want, take(t, s, len(want)), after)
			nothing(t, s)
			publish(b, 8, 8)
			assert.Equal(t, []string{"8"}, take(t, s, 1), after)
		})
	}
}

func TestCursorOfTheEmptyHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, 4)
		_, next, reset, err := b.History(events.HistoryQuery{})
		require.NoError(t, err)
		assert.False(t, reset)
		publish(b, 1, 2)
		assert.Equal(t, []string{"1", "2"}, take(t, subscribe(t, b, events.SubscribeOptions{After: next}), 2))
	})
}

func TestSelection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, 16)
		byService := subscribe(t, b, events.SubscribeOptions{Service: "web"})
		byType := subscribe(t, b, events.SubscribeOptions{Types: []core.EventType{core.EventExpired, core.EventDegraded}})
		for i, e := range []core.Event{
			{Type: core.EventRegistered, Service: "web"},
			{Type: core.EventExpired, Service: "db"},
			{Type: core.EventDegraded},
			{Type: core.EventExpired, Service: "web"},
		} {
			e.ID = strconv.Itoa(i + 1)
			b.Publish(e)
		}
		assert.Equal(t, []string{"1", "4"}, take(t, byService, 2))
		nothing(t, byService)
		assert.Equal(t, []string{"2", "3", "4"}, take(t, byType, 3))
		nothing(t, byType)
		_, err := b.Subscribe(events.SubscribeOptions{Types: []core.EventType{"service_exploded"}})
		require.ErrorIs(t, err, core.ErrInvalid)
		require.ErrorContains(t, err, "service_exploded")
	})
}

func TestSlowSubscriberIsToldAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, 4)
		s := subscribe(t, b, events.SubscribeOptions{})
		publish(b, 1, 4)
		assert.Equal(t, []string{"1"}, take(t, s, 1))
		publish(b, 5, 10) // kept: 7 to 10
		assert.Equal(t, []string{"lagged 5", "7", "8", "9", "10"}, take(t, s, 5))
		nothing(t, s)
	})
}

func TestOvertakenByAnEventThatDoesNotCountYet(t *testing.T) {
	b := open(t, 2)
	s := subscribe(t, b, events.SubscribeOptions{})
	publish(b, 1, 2)
	b.Overtake()
	assert.Equal(t, []string{"lagged 1", "2"}, take(t, s, 2))
	list, _, reset, err := b.History(events.HistoryQuery{After: "x-0"})
	require.NoError(t, err)
	assert.True(t, reset)
	assert.Equal(t, []string{"2"}, ids(list))
}

// TestSubscribersLoseNothingUnseen races a publisher with readers: each sees every number in
// order, but for those that it is told it missed.
func TestSubscribersLoseNothingUnseen(t *testing.T) {
	for _, history := range []int{1, 3, 64} {
		t.Run(strconv.Itoa(history), func(t *testing.T) { race(t, open(t, history)) })
	}
}

func race(t *testing.T, b *events.Bus) {
	t.Helper()
	const total = 20_000
	var wg sync.WaitGroup
	for range 4 {
		s := subscribe(t, b, events.SubscribeOptions{})
		wg.Go(func() {
			for want := 1; want <= total; {
				item, err := s.Next(t.Context())
				switch {
				case err != nil:
					t.Errorf("waiting for %d: %v", want, err)
					return
				case item.Lagged > 0:
					want += item.Lagged
				case item.Event.ID == strconv.Itoa(want):
					want++
				default:
					t.Errorf("got %s, want %d", item.Event.ID, want)
					return
				}
			}
		})
	}
	wg.Go(func() { // queries race as well
		after, seen, gap := "x-0", 0, false
		for seen < total {
			list, next, reset, err := b.History(events.HistoryQuery{After: after, Limit: 7})
			if err != nil {
				t.Errorf("looking back after %s: %v", after, err)
				return
			}
			gap = gap || reset
			for _, e := range list {
				n, err := strconv.Atoi(e.ID)
				if err != nil || n <= seen || n > seen+1 && !gap {
					t.Errorf("got %s after %d: %v", e.ID, seen, err)
					return
				}
				seen, gap = n, false
			}
			after = next
		}
	})
	publish(b, 1, total)
	wg.Wait()
}

// TestNoWakeUpIsMissed publishes just as the subscriber begins to wait, again and again. A
// missed wake-up would hang.
func TestNoWakeUpIsMissed(t *testing.T) {
	b := open(t, 8)
	s := subscribe(t, b, events.SubscribeOptions{})
	ask := make(chan int)
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range ask {
			publish(b, n, n)
		}
	})
	for n := range 20_000 {
		ask <- n
		take(t, s, 1)
	}
	close(ask)
	wg.Wait()
}

// TestNothingIsLostInClose closes the bus just after an event, as a subscriber begins to wait.
func TestNothingIsLostInClose(t *testing.T) {
	for range 2_000 {
		b := events.New(events.Options{Life: "x"})
		s := subscribe(t, b, events.SubscribeOptions{})
		var wg sync.WaitGroup
		wg.Go(func() {
			publish(b, 1, 1)
			assert.NoError(t, b.Close(context.Background()))
		})
		assert.Equal(t, []string{"1"}, take(t, s, 1))
		_, err := s.Next(t.Context())
		require.ErrorIs(t, err, core.ErrClosed)
		wg.Wait()
	}
}

func TestConcurrentPublishersShareOneOrder(t *testing.T) {
	b := open(t, 1000)
	s := subscribe(t, b, events.SubscribeOptions{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { publish(b, 1, 200) })
	}
	wg.Wait()
	for n := range 800 {
		item, err := s.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, "x-"+strconv.Itoa(n+1), item.Event.Cursor)
	}
}

func TestHistory(t *testing.T) {
	b := open(t, 8)
	publish(b, 1, 10) // kept: 3 to 10
	b.Publish(core.Event{Type: core.EventExpired, Service: "db", ID: "11"})
	for name, tc := range map[string]struct {
		query events.HistoryQuery
		want  []string
		next  string
		reset bool
	}{
		"all":                    {events.HistoryQuery{}, []string{"4", "5", "6", "7", "8", "9", "10", "11"}, "x-11", false},
		"the newest":             {events.HistoryQuery{Limit: 2}, []string{"10", "11"}, "x-11", false},
		"the newest of one":      {events.HistoryQuery{Service: "web", Limit: 2}, []string{"9", "10"}, "x-11", false},
		"after":                  {events.HistoryQuery{After: "x-5", Limit: 2}, []string{"6", "7"}, "x-7", false},
		"after, selected":        {events.HistoryQuery{After: "x-5", Types: []core.EventType{core.EventExpired}}, []string{"11"}, "x-11", false},
		"after, none selected":   {events.HistoryQuery{After: "x-5", Service: "nobody"}, []string{}, "x-11", false},
		"at the end":             {events.HistoryQuery{After: "x-11"}, []string{}, "x-11", false},
		"oldest cursor":          {events.HistoryQuery{After: "x-3", Limit: 1}, []string{"4"}, "x-4", false},
		"too old":                {events.HistoryQuery{After: "x-2", Limit: 2}, []string{"4", "5"}, "x-5", true},
		"of another life":        {events.HistoryQuery{After: "w-11", Limit: 1}, []string{"4"}, "x-4", true},
		"backend's are no web's": {events.HistoryQuery{After: "x-9", Service: "db"}, []string{"11"}, "x-11", false},
	} {
		t.Run(name, func(t *testing.T) {
			list, next, reset, err := b.History(tc.query)
			require.NoError(t, err)
			assert.Equal(t, tc.want, ids(list))
			assert.Equal(t, tc.next, next)
			assert.Equal(t, tc.reset, reset)
		})
	}
	for _, q := range []events.HistoryQuery{{Limit: -1}, {Limit: 1001}, {Types: []core.EventType{"x"}}} {
		_, _, _, err := b.History(q)
		require.ErrorIs(t, err, core.ErrInvalid)
	}
}

func TestCloseOfASubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, 4)
		s := subscribe(t, b, events.SubscribeOptions{})
		go func() {
			<-time.After(time.Second)
			s.Close()
			s.Close()
		}()
		_, err := s.Next(t.Context())
		require.ErrorIs(t, err, core.ErrClosed)
		publish(b, 1, 1)
		_, err = s.Next(t.Context())
		require.ErrorIs(t, err, core.ErrClosed)
	})
}

func TestCloseOfTheBusGivesWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, 4)
		behind := subscribe(t, b, events.SubscribeOptions{})
		idle := subscribe(t, b, events.SubscribeOptions{Service: "nobody"})
		waiting := make(chan error)
		go func() {
			_, err := idle.Next(t.Context())
			waiting <- err
		}()
		synctest.Wait()
		publish(b, 1, 2)
		require.NoError(t, b.Close(t.Context()))
		require.ErrorIs(t, <-waiting, core.ErrClosed)
		assert.Equal(t, []string{"1", "2"}, take(t, behind, 2))
		_, err := behind.Next(t.Context())
		require.ErrorIs(t, err, core.ErrClosed)
		_, err = b.Subscribe(events.SubscribeOptions{})
		require.ErrorIs(t, err, core.ErrClosed)
		_, err = b.Handle(nil, func(core.Event) {})
		require.ErrorIs(t, err, core.ErrClosed)
	})
}

func BenchmarkPublish(b *testing.B) {
	for _, subscribers := range []int{0, 1_000} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			bus := events.New(events.Options{})
			for range subscribers {
				_, err := bus.Handle(nil, func(core.Event) {})
				require.NoError(b, err)
			}
			e := core.Event{Type: core.EventRegistered, Service: "web", ID: "a"}
			b.ReportAllocs()
			for b.Loop() {
				bus.Publish(e)
			}
			b.StopTimer()
			require.NoError(b, bus.Close(context.Background()))
		})
	}
}

// TestACursorMovesOverWhatIsPassedOver: a subscriber that was shown nothing has still seen all.
func TestACursorMovesOverWhatIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, 4)
		s := subscribe(t, b, events.SubscribeOptions{Service: "api"})
		publish(b, 1, 8)
		b.Publish(core.Event{Type: core.EventRegistered, Service: "api", ID: "9"})
		assert.Equal(t, []string{"lagged 5"}, take(t, s, 1))
		assert.Equal(t, "x-5", s.Cursor())
		assert.Equal(t, []string{"9"}, take(t, s, 1))
		assert.Equal(t, "x-9", s.Cursor())
		publish(b, 10, 12)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, "x-12", s.Cursor())
		publish(b, 13, 15)
		again := subscribe(t, b, events.SubscribeOptions{Service: "web", After: s.Cursor()})
		assert.Equal(t, []string{"13", "14", "15"}, take(t, again, 3))
	})
}
