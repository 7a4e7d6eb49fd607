package backendkit

// each.go: many requests of one call, some of them on their way together.

import "sync"

// Each calls do for 0 to n-1, at most so many at a time, each in a goroutine. It returns when all
// have, the error of the lowest number that failed.
func Each(n, atOnce int, do func(i int) error) error {
	if n == 1 {
		return do(0)
	}
	var group sync.WaitGroup
	errs, slots := make([]error, n), make(chan struct{}, atOnce)
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			errs[i] = do(i)
			<-slots
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
