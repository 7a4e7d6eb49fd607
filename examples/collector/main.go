// Command collector is a small data collector that registers itself with a Prism host: it
// says which exchanges it collects from, answers /health, and leaves in an orderly way on
// SIGTERM. It holds no credentials of the store; its heartbeats go to the host over HTTP.
package main

import (
	"context"
	"encoding/json"
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

const service = "data-collector"

type settings struct {
	host, id  string
	weight    int
	ttl       time.Duration
	exchanges string
}

func main() {
	var s settings
	flag.StringVar(&s.host, "host", client.DefaultAddress, "URL of the Prism host")
	flag.StringVar(&s.id, "id", "", "instance id; default from the address")
	flag.IntVar(&s.weight, "weight", 100, "share of the traffic")
	flag.DurationVar(&s.ttl, "ttl", 10*time.Second, "how long the host waits for a heartbeat")
	flag.StringVar(&s.exchanges, "exchanges", "binance,okx,deribit", "what is collected from")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "collector:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr, ok := lis.Addr().(*net.TCPAddr)
	if !ok {
		return errors.New("the listener has no TCP address")
	}
	srv := &http.Server{Handler: handler(s), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()

	c, err := client.New(client.Config{Addresses: strings.Split(s.host, ","), Logger: slog.Default()})
	if err != nil {
		return err
	}
	defer c.Close()
	reg, err := c.Register(ctx, discovery.Spec{
		Service: service, ID: s.id, Host: "127.0.0.1", Port: addr.Port, Weight: new(s.weight), TTL: s.ttl,
		Metadata: discovery.MustMetadata(map[string]any{"exchanges": strings.Split(s.exchanges, ","), "role": "collector"}),
		Tags:     []string{"collector"}, Check: &discovery.HealthCheck{Path: "/health"},
	})
	if err != nil {
		return err
	}
	fmt.Printf("collector %s serves on %s\n", reg.Instance().ID, addr)

	select {
	case err := <-served:
		return err
	case <-reg.Done():
		return fmt.Errorf("the registration ended: %w", reg.Err())
	case <-ctx.Done():
	}
	return leave(context.WithoutCancel(ctx), reg, srv)
}

// leave takes the instance out of traffic before it stops answering.
func leave(ctx context.Context, reg *client.Registration, srv *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return errors.Join(
		reg.SetStatus(ctx, "stopping", "the collector is ending"),
		reg.Close(ctx),
		srv.Shutdown(ctx), // waits for requests that are being answered
	)
}

func handler(s settings) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"status":"ok"}`)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := map[string]any{"collector": s.id, "path": r.URL.Path, "exchanges": strings.Split(s.exchanges, ",")}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			slog.Warn("the answer was not sent", slog.Any("error", err))
		}
	})
	return mux
}
