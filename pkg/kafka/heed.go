package kafka

import "context"

// heed asks brokers something and returns the answer, or the error of ctx as soon as that ends. The client's own
// requests heed a context between tries, but a broker that takes a request and says nothing holds them for
// tens of seconds. What is asked goes on until then, or until its client is closed: the answer is dropped.
func heed[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	go func() {
		value, err := ask(ctx)
		answered <- answer{value, err}
	}()
	select {
	case a := <-answered:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
