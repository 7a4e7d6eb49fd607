package main

// traffic.go: requests through the gateway, and waiting for what they depend on.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

type gatewayStats struct {
	Served  map[string]int `json:"served"`
	Retried int            `json:"retried"`
}

func (d *demo) get(url string, into any) error {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	res, err := httpClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %d: %s", url, res.StatusCode, body)
	}
	return json.Unmarshal(body, into)
}

var httpClient = &http.Client{}

func (d *demo) stats() (s gatewayStats, err error) {
	return s, d.get(d.gateway+"/stats", &s)
}

// expectShares sends n requests and compares who answered.
func (d *demo) expectShares(n int, want map[string]int) error {
	got := map[string]int{}
	for range n {
		var answer struct {
			Collector string `json:"collector"`
		}
		if err := d.get(d.gateway+"/api/v1/"+service+"/quotes/btc", &answer); err != nil {
			return fmt.Errorf("a caller saw a failure: %w", err)
		}
		got[answer.Collector]++
	}
	fmt.Printf("%d requests:", n)
	for _, id := range sorted(got) {
		fmt.Printf(" %s %d", id, got[id])
	}
	fmt.Println()
	for _, id := range []string{"collector-a", "collector-b"} {
		if got[id] != want[id] {
			return fmt.Errorf("%s answered %d requests, not %d", id, got[id], want[id])
		}
	}
	return nil
}

// waitEligible returns when exactly n collectors are healthy and may receive traffic. It is
// woken by changes.
func (d *demo) waitEligible(n int) error {
	w, err := d.prism.Watch(d.ctx, service)
	if err != nil {
		return err
	}
	defer w.Close()
	healthy := map[string]bool{}
	synced := false
	for {
		item, err := w.Next(d.ctx)
		if err != nil {
			return err
		}
		switch item.Kind {
		case discovery.WatchReset:
			clear(healthy)
			synced = false
		case discovery.WatchSynced:
			synced = true
		case discovery.WatchPut:
			healthy[item.Key.ID] = item.Instance.Status() == core.StatusHealthy
		case discovery.WatchDelete:
			delete(healthy, item.Key.ID)
		}
		count := 0
		for _, ok := range healthy {
			if ok {
				count++
			}
		}
		if synced && count == n {
			return nil
		}
	}
}

// waitRecovered returns when the view is current again after the plugin's death.
func (d *demo) waitRecovered(after string) error {
	sub, err := d.prism.Follow(d.ctx, discovery.SubscribeOptions{After: after})
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		item, err := sub.Next(d.ctx)
		switch {
		case err != nil:
			return err
		case item.Reset:
			return errors.New("the event history did not reach back far enough")
		case item.Event.Type == core.EventRecovered:
			fmt.Printf("%s: %s\n", item.Event.Type, item.Event.Reason)
			return nil
		case item.Event.Type == core.EventDegraded:
			fmt.Printf("%s: %s\n", item.Event.Type, item.Event.Reason)
		}
	}
}

// explain prints who gets traffic and why others do not.
func (d *demo) explain() error {
	list, err := d.prism.Explain(d.ctx, service, discovery.PickOptions{})
	for _, e := range list {
		fmt.Printf("explain: %-12s eligible %-5t share %3.0f%%  %s\n", e.ID, e.Eligible, e.Share*100, e.Reason)
	}
	return err
}
