package testkit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

func send(t *testing.T, url, body string) (status int, answer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Test", strconv.Itoa(len(body)))
	resp, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(read)
}

func TestReceiverRecords(t *testing.T) {
	r := testkit.NewReceiver(t)
	before := time.Now()
	if status, _ := send(t, r.URL+"/a?b=c", "\x00\xff {}"); status != http.StatusNoContent {
		t.Errorf("status %d, want 204", status)
	}
	send(t, r.URL+"/d", "two")
	got := r.Wait(t, 2, 10*time.Second)
	first := got[0]
	if first.Method != http.MethodPost || first.Path != "/a?b=c" || !bytes.Equal(first.Body, []byte("\x00\xff {}")) {
		t.Errorf("recorded %+v", first)
	}
	if got[1].Header.Get("X-Test") != "3" || first.At.Before(before) || first.At.After(time.Now()) || first.Remote == "" {
		t.Errorf("recorded %+v", got)
	}
	if to := r.RequestsTo("/d"); len(to) != 1 || string(to[0].Body) != "two" {
		t.Errorf("RequestsTo(/d) = %+v", to)
	}
}

func TestReceiverBehaves(t *testing.T) {
	r := testkit.NewReceiver(t)
	r.Set("", testkit.Behaviour{Status: http.StatusTeapot})
	r.Set("/fail", testkit.Behaviour{FailFirst: 2, FailStatus: http.StatusBadGateway, Body: []byte("ok")})
	r.Set("/drip", testkit.Behaviour{Body: []byte("drop"), Drip: time.Millisecond, Header: http.Header{"Retry-After": {"5"}}})
	r.Set("/delay", testkit.Behaviour{Delay: 10 * time.Millisecond})
	r.Set("/func", testkit.Behaviour{Func: func(w http.ResponseWriter, request *http.Request) {
		_, _ = io.Copy(w, request.Body)
	}})
	for _, want := range []struct {
		path   string
		status int
		answer string
	}{
		{"/other", 418, ""}, {"/fail", 502, ""}, {"/fail", 502, ""}, {"/fail", 200, "ok"}, {"/drip", 200, "drop"}, {"/delay", 204, ""}, {"/func", 200, "body"},
	} {
		if status, answer := send(t, r.URL+want.path, "body"); status != want.status || answer != want.answer {
			t.Errorf("%s answers %d %q, want %d %q", want.path, status, answer, want.status, want.answer)
		}
	}
	if r.Count() != 7 {
		t.Errorf("Count = %d, want 7", r.Count())
	}
}

func TestReceiverHangsUntilClosed(t *testing.T) {
	r := testkit.NewReceiver(t)
	r.Set("", testkit.Behaviour{Hang: true})
	ended := make(chan error, 1)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		resp, err := http.DefaultTransport.RoundTrip(request)
		if err == nil {
			_ = resp.Body.Close()
		}
		ended <- err
	}()
	r.Wait(t, 1, 10*time.Second)
	select {
	case err := <-ended:
		t.Fatalf("it answered: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	r.Close()
	r.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it answered")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the request still hangs after Close")
	}
}

func TestReceiverWaits(t *testing.T) {
	r := testkit.NewReceiver(t)
	r.CountOnly()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.WaitContext(ended, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("WaitContext = %v, want context.Canceled", err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { send(t, r.URL, "x") })
	}
	if got := r.Wait(t, 20, 10*time.Second); len(got) != 0 {
		t.Errorf("CountOnly kept %d requests", len(got))
	}
	wg.Wait()
}
