// Command demo shows Prism at work with real programs, each a process of its own: a host on
// the memory backend, two data collectors and an API gateway. It ends by itself, with status
// 0 when everything was as it should be.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

const service = "data-collector"

func main() {
	bin := flag.String("bin", "bin", "folder with prism, plugins/ and examples/")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := run(ctx, *bin); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is the stage: the processes and a client of the host.
type demo struct {
	ctx     context.Context //nolint:containedctx // one run is one context
	bin     string
	procs   []*process
	prism   *client.Client
	hostURL string
	gateway string
}

func run(ctx context.Context, bin string) (err error) {
	d := &demo{ctx: ctx, bin: bin}
	defer func() {
		for _, p := range slices.Backward(d.procs) {
			p.kill()
		}
		if d.prism != nil {
			d.prism.Close()
		}
	}()
	for _, step := range []struct {
		title string
		do    func() error
	}{
		{"Start a host, two collectors of weight 100 and 150, and a gateway", d.start},
		{"Send 250 requests through the gateway", func() error { return d.expectShares(250, map[string]int{"collector-a": 100, "collector-b": 150}) }},
		{"Kill collector-b hard and send 100 requests at once", d.killOne},
		{"Start collector-b again", d.comeBack},
		{"Drain collector-a with a reason", d.drain},
		{"Restore collector-a", d.restore},
		{"Kill the backend's plugin process and go on", d.killPlugin},
		{"The event history", d.history},
		{"Leave in an orderly way", d.leave},
	} {
		fmt.Printf("\n== %s\n", step.title)
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	fmt.Println("\nAll of it was as it should be.")
	return nil
}

func (d *demo) start() (err error) {
	host, url, err := d.launch("host", `http://127\.0\.0\.1:\d+`, "prism", "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0",
		"--backend", "memory", "--set", "health_check_interval=1", "--set", "server.data_dir="+filepath.Join(os.TempDir(), "prism-demo"))
	if err != nil {
		return err
	}
	d.hostURL = url
	fmt.Printf("host        %s (process %d)\n", url, host.pid())
	if d.prism, err = client.New(client.Config{Addresses: []string{url}}); err != nil {
		return err
	}
	for id, weight := range map[string]string{"collector-a": "100", "collector-b": "150"} {
		if err := d.collector(id, weight); err != nil {
			return err
		}
	}
	gw, url, err := d.launch("gateway", `http://127\.0\.0\.1:\d+`, "examples/gateway", "-host", d.hostURL)
	if err != nil {
		return err
	}
	d.gateway = url
	fmt.Printf("gateway     %s (process %d)\n", url, gw.pid())
	if err := d.waitEligible(2); err != nil {
		return err
	}
	in, err := d.prism.Instance(d.ctx, core.Key{Service: service, ID: "collector-a"})
	if err != nil {
		return err
	}
	fmt.Printf("collector-a says of itself: %s\n", in.Metadata)
	return nil
}

func (d *demo) collector(id, weight string) error {
	p, addr, err := d.launch(id, `127\.0\.0\.1:\d+`, "examples/collector", "-host", d.hostURL, "-id", id, "-weight", weight)
	if err == nil {
		fmt.Printf("%s %s, weight %s (process %d)\n", id, addr, weight, p.pid())
	}
	return err
}

func (d *demo) killOne() error {
	before, err := d.stats()
	if err != nil {
		return err
	}
	b := d.process("collector-b")
	fmt.Printf("kill -9 %d\n", b.pid())
	b.kill()
	if err := d.expectShares(100, map[string]int{"collector-a": 100}); err != nil {
		return err
	}
	after, err := d.stats()
	if err != nil {
		return err
	}
	retried := after.Retried - before.Retried
	fmt.Printf("%d of them went to the dead collector first and were tried on the other; no caller saw a failure\n", retried)
	if retried == 0 {
		return fmt.Errorf("no request was retried, so nothing was shown")
	}
	if err := d.waitEligible(1); err != nil {
		return err
	}
	if err := d.explain(); err != nil {
		return err
	}
	return d.expectShares(50, map[string]int{"collector-a": 50})
}

func (d *demo) comeBack() error {
	if err := d.collector("collector-b", "150"); err != nil {
		return err
	}
	if err := d.waitEligible(2); err != nil {
		return err
	}
	return d.expectShares(250, map[string]int{"collector-a": 100, "collector-b": 150})
}

func (d *demo) drain() error {
	if err := d.setStatus("maintenance", "disk swap"); err != nil {
		return err
	}
	if err := d.explain(); err != nil {
		return err
	}
	return d.expectShares(50, map[string]int{"collector-b": 50})
}

func (d *demo) restore() error {
	if err := d.setStatus("up", "disk swapped"); err != nil {
		return err
	}
	return d.expectShares(250, map[string]int{"collector-a": 100, "collector-b": 150})
}

func (d *demo) setStatus(status, reason string) error {
	in, err := d.prism.SetStatus(d.ctx, discovery.StatusRequest{
		Key: core.Key{Service: service, ID: "collector-a"}, Status: status, Reason: reason,
	})
	if err == nil {
		fmt.Printf("collector-a is %s (%s)\n", in.Status(), in.State.Reason)
	}
	return err
}

func (d *demo) killPlugin() error {
	st, err := d.prism.Status(d.ctx)
	if err != nil {
		return err
	}
	if st.Plugin == nil || st.Plugin.PID == 0 {
		return fmt.Errorf("the host names no plugin process")
	}
	_, cursor, _, err := d.prism.Events(d.ctx, discovery.HistoryQuery{Limit: 1})
	if err != nil {
		return err
	}
	fmt.Printf("kill -9 %d, and with it all that the memory backend held\n", st.Plugin.PID)
	plugin, err := os.FindProcess(st.Plugin.PID)
	if err != nil {
		return err
	}
	if err := plugin.Kill(); err != nil {
		return err
	}
	if err := d.expectShares(250, map[string]int{"collector-a": 100, "collector-b": 150}); err != nil {
		return err
	}
	if err := d.waitRecovered(cursor); err != nil {
		return err
	}
	changed, _, _, err := d.prism.Events(d.ctx, discovery.HistoryQuery{After: cursor, Service: service})
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		return fmt.Errorf("people saw %s of %s, which did not change", changed[0].Type, changed[0].ID)
	}
	fmt.Println("the host started it again and registered everything anew; no event for an instance that did not change")
	return d.expectShares(250, map[string]int{"collector-a": 100, "collector-b": 150})
}

func (d *demo) history() error {
	list, _, _, err := d.prism.Events(d.ctx, discovery.HistoryQuery{Limit: 1000})
	if err != nil {
		return err
	}
	for _, e := range list {
		fmt.Printf("%s  %-22s %-28s %-12s %s\n", e.Time.Format("15:04:05.000"), e.Type, e.Service+"/"+e.ID, e.NewStatus, e.Reason)
	}
	return nil
}

func (d *demo) leave() error {
	for _, p := range slices.Backward(d.procs) {
		if p.gone() {
			continue
		}
		if err := p.terminate(d.ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Printf("%s ended with status 0\n", p.name)
	}
	return nil
}

func sorted(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }
