// Command endure shows that Consul goes on showing what a host registers for longer than anything
// in it takes to tidy up: it runs a real Consul and `prism serve`, registers instances that are
// healthy, drained and failing, and compares every few seconds what Consul's DNS, health and
// catalog API and UI show with what was registered. At the first deviation it ends with status
// 1. `make endure` runs it.
//
// Twelve minutes are enough by default: an agent compares its own nodes with the catalog every
// minute or two, the leader reconciles every minute, Prism puts the catalog right every ten.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	bin := flag.String("bin", "bin", "folder with prism and plugins/")
	minutes := flag.Float64("minutes", 12, "how long to look")
	every := flag.Duration("every", 3*time.Second, "time between two looks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, time.Duration(*minutes*float64(time.Minute)), *every); err != nil {
		fmt.Fprintln(os.Stderr, "endure:", err)
		os.Exit(1)
	}
}

const (
	// settled bounds how long the instances take until all is as it stays: checks have to judge.
	settled = time.Minute
	// oneLook bounds a look.
	oneLook = 30 * time.Second
)

func run(ctx context.Context, bin string, lasts, every time.Duration) (err error) {
	s, err := open(ctx, bin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	began, looks, told := time.Now(), 0, time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := s.look(ctx); err != nil {
			return fmt.Errorf("look %d, after %v: %w", looks+1, since(began), err)
		}
		looks++
		if time.Since(began) >= lasts {
			fmt.Printf("%v, %d looks: all of it was as registered.\n", since(began), looks)
			return nil
		}
		if time.Since(told) >= time.Minute {
			told = time.Now()
			fmt.Printf("%v, %d looks: as registered\n", since(began), looks)
		}
		select {
		case <-tick.C:
		case <-s.host.ended:
			return fmt.Errorf("the host ended after %v", since(began))
		case <-ctx.Done():
			return fmt.Errorf("ended before its time, after %v and %d looks: %w", since(began), looks, ctx.Err())
		}
	}
}

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Second) }
