package prism_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/prism"
)

// The smallest program: one client in memory, one service, one call.
func ExampleOpen() {
	ctx := context.Background()
	client, err := prism.Open(ctx, prism.Config{Backend: "memory", NoChecks: true, DrainTimeout: -1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close(ctx)

	reg, err := client.Register(ctx, prism.Spec{Service: "data-collector", Host: "127.0.0.1", Port: 8081})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reg.Close(ctx)

	url, err := client.URL(ctx, "data-collector", prism.PickOptions{})
	fmt.Println(url, err)
	// Output: http://127.0.0.1:8081 <nil>
}

// The convenience functions share a client that is opened at the first use.
func ExampleRegister() {
	ctx := context.Background()
	if err := prism.Configure(prism.Config{NoChecks: true, DrainTimeout: -1}); err != nil {
		fmt.Println(err)
		return
	}
	defer prism.Shutdown(ctx)

	reg, err := prism.Register(ctx, prism.Spec{Service: "api-gateway", Host: "127.0.0.1", Port: 8080, Tags: []string{"public"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	instances, err := prism.Discover(ctx, "api-gateway")
	fmt.Println(len(instances), instances[0].ID, err)
	url, err := prism.URL(ctx, "api-gateway")
	fmt.Println(url, err)

	// Drained, the instance is still there and gets no traffic.
	if err := reg.Drain(ctx, "deployment"); err != nil {
		fmt.Println(err)
	}
	_, err = prism.URL(ctx, "api-gateway")
	fmt.Println(errors.Is(err, prism.ErrNoEligible))
	// Output:
	// 1 api-gateway-127.0.0.1-8080 <nil>
	// http://127.0.0.1:8080 <nil>
	// true
}

// Wait is woken by the registration; nothing polls.
func ExampleWait() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := prism.Configure(prism.Config{NoChecks: true, DrainTimeout: -1}); err != nil {
		fmt.Println(err)
		return
	}
	defer prism.Shutdown(ctx)

	go func() {
		_, _ = prism.Register(ctx, prism.Spec{Service: "storage", Host: "127.0.0.1", Port: 9000, Scheme: "grpc"})
	}()
	instances, err := prism.Wait(ctx, "storage")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(instances[0].BaseURL())
	// Output: grpc://127.0.0.1:9000
}

// Errors name the field, what was given and what is allowed.
func ExampleClient_Register() {
	ctx := context.Background()
	client, err := prism.Open(ctx, prism.Config{NoChecks: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close(ctx)
	_, err = client.Register(ctx, prism.Spec{Service: "api", Host: "127.0.0.1", Port: 65536})
	fmt.Println(err, errors.Is(err, prism.ErrInvalid))
	// Output: port: 65536 is not allowed; use 1–65535 true
}
