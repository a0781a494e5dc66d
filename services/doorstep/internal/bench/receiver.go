package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Receiver is a receiver of webhooks in a process of its own that says when its POSTs came.
//
//	/anything/...       answered at once with 204
//	/slow/50ms/...      answered after that time
//	/hang/...           never answered: held until the sender gives up
type Receiver struct {
	Process *Process
}

// Received is what a receiver has noted since its last reset.
type Received struct {
	Count    int64           `json:"count"`    // POSTs
	Repeated int64           `json:"repeated"` // of them with a webhook-id that had come before
	First    time.Time       `json:"first"`    // when the first one came
	Last     time.Time       `json:"last"`     // and the last
	Paths    map[string]Path `json:"paths"`    // by the first segment of the path, e.g. "hang"
}

// Path is what came to paths of one first segment.
type Path struct {
	Count int64 `json:"count"`
	// Latency is the time from the "at" of the body until the POST came.
	Latency Histogram `json:"latency"`
	// Rate is POSTs a second, from the reset's time on.
	Rate []Point `json:"rate"`
}

// Receiver starts a receiver.
func (b *Bed) Receiver(ctx context.Context) (*Receiver, error) {
	p, err := b.Start(ctx, "receiver", nil, "bench-part", "receiver")
	if err != nil {
		return nil, err
	}
	return &Receiver{p}, nil
}

// URL is where it answers, without a path.
func (r *Receiver) URL() string { return "http://" + r.Process.HTTP() }

// Reset forgets all that came so far. From then on latencies and rates count only POSTs whose "at" is not before from; counts
// count all.
func (r *Receiver) Reset(ctx context.Context, from time.Time) error {
	var done struct{}
	return getJSON(ctx, r.control("reset?from="+strconv.FormatInt(from.UnixNano(), 10)), &done)
}

// Report is what it has noted.
func (r *Receiver) Report(ctx context.Context) (Received, error) {
	var got Received
	err := getJSON(ctx, r.control("report"), &got)
	return got, err
}

// Count is how many POSTs came, which costs little to ask.
func (r *Receiver) Count(ctx context.Context) (n int64, err error) {
	err = getJSON(ctx, r.control("count"), &n)
	return n, err
}

func (r *Receiver) control(what string) string { return "http://" + r.Process.Admin() + "/" + what }

// What a body begins with, and ends with. The digits of a time in nanoseconds stand between head and text.
const (
	bodyHead = `{"at":`
	bodyText = `,"text":"`
	bodyTail = `"}`
)

// body is JSON of n bytes that says when it was due; of fewer, where n is less than that takes.
func body(at time.Time, n int) []byte {
	b := make([]byte, 0, n)
	b = append(b, bodyHead...)
	b = strconv.AppendInt(b, at.UnixNano(), 10)
	fill := n - len(b) - len(bodyText) - len(bodyTail)
	if fill < 0 {
		return append(b, '}')
	}
	b = append(b, bodyText...)
	b = append(b, strings.Repeat("x", fill)...)
	return append(b, bodyTail...)
}

// bodyTime is when a body, or the beginning of one, was due; false if it does not say.
func bodyTime(b []byte) (time.Time, bool) {
	if len(b) < len(bodyHead) || string(b[:len(bodyHead)]) != bodyHead {
		return time.Time{}, false
	}
	var nanos int64
	digits := 0
	for _, c := range b[len(bodyHead):] {
		if c < '0' || c > '9' || digits == 19 {
			break
		}
		nanos = nanos*10 + int64(c-'0')
		digits++
	}
	return time.Unix(0, nanos), digits > 0
}

// readHead reads as much of a body as says when it was due, and drops the rest.
func readHead(r io.Reader, buf []byte) ([]byte, error) {
	n, err := io.ReadFull(r, buf)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return buf[:n], nil
		}
		return nil, err
	}
	_, err = io.Copy(io.Discard, r)
	return buf, err
}

// hold waits as the path of a request asks for, and reports whether to answer.
func hold(req *http.Request, path string) (bool, error) {
	kind, rest, _ := strings.Cut(path, "/")
	switch kind {
	case "hang":
		<-req.Context().Done()
		return false, nil
	case "slow":
		text, _, _ := strings.Cut(rest, "/")
		d, err := time.ParseDuration(text)
		if err != nil {
			return false, fmt.Errorf("path: want /slow/TIME/..., e.g. /slow/50ms/1")
		}
		select {
		case <-time.After(d):
		case <-req.Context().Done():
			return false, nil
		}
	}
	return true, nil
}
