package producer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/doorstep-dev/doorstep/proto/producer"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// start starts a server in place of Doorstep's and returns its address.
func start(s *server) (addr string, stop func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	g := grpc.NewServer()
	doorstepv1.RegisterIngestServiceServer(g, s)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(l) })
	return l.Addr().String(), func() { g.Stop(); serving.Wait() }
}

func Example() {
	addr, stop := start(&server{})
	defer stop()

	client, err := producer.New(addr, producer.Options{Key: "dsk_..."}) // "doorstep.example.com:443" for TLS
	if err != nil {
		panic(err)
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	id, err := client.Publish(ctx, &producer.Event{
		Id: "order-4711-paid", Type: "order.paid", ExternalReference: "order-4711", Data: []byte(`{"total":"12.50"}`),
	})
	fmt.Println(id, err)
	// Output: order-4711-paid <nil>
}

func ExampleClient_Publish_refused() {
	addr, stop := start(&server{fault: func(int) fault { return invalid }})
	defer stop()
	client, err := producer.New(addr, producer.Options{Key: "dsk_..."})
	if err != nil {
		panic(err)
	}
	defer client.Close()

	_, err = client.Publish(context.Background(), &producer.Event{})
	var refused *producer.Refused
	switch {
	case errors.As(err, &refused):
		fmt.Println("never as it is:", refused.Code)
	case errors.Is(err, producer.ErrUnacknowledged):
		fmt.Println("publish it again with the same id")
	}
	// Output: never as it is: InvalidArgument
}

func ExampleStream() {
	// The server goes away in the middle, having taken an event that it does not acknowledge.
	doorstep := &server{fault: func(n int) fault {
		if n == 40 {
			return takeDie
		}
		return none
	}}
	addr, stop := start(doorstep)
	defer stop()
	client, err := producer.New(addr, producer.Options{Key: "dsk_..."})
	if err != nil {
		panic(err)
	}
	defer client.Close()

	stream, err := client.NewStream(producer.StreamOptions{})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	acknowledged := 0 // done is called by one goroutine at a time, and not after Close
	for range 100 {
		err := stream.Send(ctx, &producer.Event{Type: "card.updated"}, func(r producer.Result) {
			if r.Err != nil {
				fmt.Println(r.ID, r.Err)
				return
			}
			acknowledged++
		})
		if err != nil {
			panic(err)
		}
	}
	err = stream.Close(ctx)
	fmt.Println(acknowledged, "acknowledged;", len(doorstep.first()), "events taken;", err)
	// Output: 100 acknowledged; 100 events taken; <nil>
}
