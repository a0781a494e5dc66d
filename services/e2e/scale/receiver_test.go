package scale

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// behaviour is how a webhook's receiver answers.
type behaviour struct {
	takes  time.Duration
	hangs  bool // no answer, until it is let go
	fails  int  // each delivery is refused so often first
	single bool // the webhook wants one POST at a time
}

// post is one POST that came.
type post struct {
	delivery int // its number
	hook     int
	at       time.Time
	ended    time.Time // zero: the receiver has not answered
	status   int       // 0: not answered
}

// receiver answers for all webhooks of a world and notes every POST.
type receiver struct {
	server *httptest.Server
	free   chan struct{} // closed when nothing hangs any more

	mu         sync.Mutex
	behaviours []behaviour
	busy       []int // POSTs under way, by webhook
	posts      []post
	times      map[int]int // POSTs so far, by delivery
	done       map[int]bool
	overlaps   int // POSTs that came while a webhook that wants one at a time had one
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{free: make(chan struct{}), times: map[int]int{}, done: map[int]bool{}}
	r.server = httptest.NewServer(r)
	t.Cleanup(func() {
		r.letGo()
		r.server.Close()
	})
	return r
}

// add makes an address for a webhook.
func (r *receiver) add(b behaviour) (url string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behaviours, r.busy = append(r.behaviours, b), append(r.busy, 0)
	return fmt.Sprintf("%s/%d", r.server.URL, len(r.behaviours)-1)
}

// letGo makes all answer that hang, now and from now on.
func (r *receiver) letGo() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.free:
	default:
		close(r.free)
	}
}

// ServeHTTP notes a POST and answers it.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return
	}
	hook, err := strconv.Atoi(strings.TrimPrefix(req.URL.Path, "/"))
	n, err2 := strconv.Atoi(strings.TrimPrefix(req.Header.Get("Doorstep-Event-Id"), "event-"))
	if err != nil || err2 != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	i, b, status := r.arrive(hook, n)
	if b.hangs {
		select {
		case <-r.free:
		case <-req.Context().Done():
			r.leave(i, 0)
			return
		}
	}
	time.Sleep(b.takes) // a receiver at work
	r.leave(i, status)
	w.WriteHeader(status)
}

// arrive notes a POST, and returns its place in posts and how to answer it.
func (r *receiver) arrive(hook, n int) (i int, b behaviour, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b = r.behaviours[hook]
	if b.single && r.busy[hook] > 0 {
		r.overlaps++
	}
	r.busy[hook]++
	r.times[n]++
	status = http.StatusNoContent
	if r.times[n] <= b.fails {
		status = http.StatusInternalServerError
	}
	i = len(r.posts)
	r.posts = append(r.posts, post{delivery: n, hook: hook, at: time.Now()})
	return i, b, status
}

// leave notes that a POST is answered, or, with status 0, given up.
func (r *receiver) leave(i, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &r.posts[i]
	p.ended, p.status = time.Now(), status
	r.busy[p.hook]--
	if status/100 == 2 {
		r.done[p.delivery] = true
	}
}

// all are the POSTs so far, in the order in which they came.
func (r *receiver) all() []post { return r.since(0) }

// since are the POSTs from a place on.
func (r *receiver) since(i int) []post {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]post(nil), r.posts[i:]...)
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.posts)
}

// accepted counts the deliveries that were.
func (r *receiver) accepted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.done)
}

// hasAccepted errs while fewer deliveries were accepted.
func (r *receiver) hasAccepted(n int) error {
	if accepted := r.accepted(); accepted < n {
		return fmt.Errorf("%d of %d deliveries are accepted", accepted, n)
	}
	return nil
}

// inFlight counts the POSTs under way.
func (r *receiver) inFlight() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, b := range r.busy {
		n += b
	}
	return n
}

// byDelivery are the POSTs so far of each delivery.
func byDelivery(posts []post) map[int][]post {
	out := map[int][]post{}
	for _, p := range posts {
		out[p.delivery] = append(out[p.delivery], p)
	}
	return out
}
