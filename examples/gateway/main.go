// Command gateway is a small API gateway over Prism: /api/v1/{service}/{path} goes to an
// instance of the service, chosen by the host; a request that could not be delivered is tried
// on another instance, so that callers do not see one die. It registers itself, waits
// for the services it needs, and follows events.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/core/discovery"
)

func main() {
	host := flag.String("host", client.DefaultAddress, "URL of the Prism host")
	needs := flag.String("needs", "data-collector", "services to wait for, with commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *host, strings.Split(*needs, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, host string, needs []string) error {
	c, err := client.New(client.Config{Addresses: strings.Split(host, ","), Logger: slog.Default()})
	if err != nil {
		return err
	}
	defer c.Close()
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr, ok := lis.Addr().(*net.TCPAddr)
	if !ok {
		return errors.New("the listener has no TCP address")
	}
	gw := newGateway(c)
	srv := &http.Server{Handler: gw.routes(), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()

	reg, err := c.Register(ctx, discovery.Spec{
		Service: "api-gateway", Host: "127.0.0.1", Port: addr.Port, TTL: 10 * time.Second, Tags: []string{"gateway"},
		Check: &discovery.HealthCheck{Path: "/health"},
	})
	if err != nil {
		return err
	}
	if err := waitFor(ctx, c, needs); err != nil {
		return err
	}
	events, err := c.Follow(ctx, discovery.SubscribeOptions{})
	if err != nil {
		return err
	}
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		gw.follow(ctx, events)
	}()
	fmt.Printf("gateway serves on http://%s\n", addr)

	select {
	case err = <-served:
	case <-reg.Done():
		err = fmt.Errorf("the registration ended: %w", reg.Err())
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	events.Close()
	<-followed
	return errors.Join(err, reg.Close(end), srv.Shutdown(end))
}

// waitFor returns when each service has an instance that may receive traffic.
func waitFor(ctx context.Context, c *client.Client, services []string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, s := range services {
		_, satisfied, err := c.Wait(ctx, s, 1)
		if err != nil {
			return err
		}
		if !satisfied {
			return fmt.Errorf("no instance of %s came up within a minute", s)
		}
	}
	return nil
}
