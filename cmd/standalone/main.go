// Command standalone runs all of Millrace in one process: a simulated Microsoft 365 (or a real tenant, or exported files), an embedded
// broker (or a real cluster), and the three stages in between.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() { // the first signal stops gracefully; from then on a second one ends the process as usual
		<-ctx.Done()
		stop()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
