// Command stores starts one server of each store that its arguments name, or of all, says how
// Prism uses them, and stops them at Ctrl-C. `make servers` runs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/marketprism/prism/tools/stores"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "stores:", err)
		os.Exit(1)
	}
}

func run(names []string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	kinds := stores.Kinds()
	if len(names) > 0 {
		kinds = nil
	}
	for _, name := range names {
		kinds = append(kinds, stores.Kind(name))
	}
	for _, kind := range kinds {
		c, startErr := stores.Start(ctx, kind, stores.Options{UsualPort: true})
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		fmt.Printf("%-7s %-28s bin/prism serve --backend %s --set backend_config.url=%s\n", kind, c.URL(), kind, strings.Join(c.URLs(), ","))
	}
	fmt.Println("Ctrl-C stops them and removes their data.")
	<-ctx.Done()
	return nil
}
