package bench

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// slot is the width of one value of a rate.
const slot = 100 * time.Millisecond

// slots bounds what is kept of a rate: ten minutes.
const slots = 6000

// headBytes is how much of a body is looked at.
const headBytes = 512

// notes is what a receiver knows. It is locked as a whole: noting takes less than a microsecond.
type notes struct {
	mu       sync.Mutex
	from     time.Time // of latencies and rates
	received Received
	ids      map[uuid.UUID]struct{}
	paths    map[string]*pathNotes
}

type pathNotes struct {
	count   int64
	latency Histogram
	slots   []int64
}

func newNotes(from time.Time) *notes {
	n := &notes{}
	n.reset(from)
	return n
}

func (n *notes) reset(from time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.from, n.received, n.ids, n.paths = from, Received{}, map[uuid.UUID]struct{}{}, map[string]*pathNotes{}
}

// post notes a POST that came at a time, of the delivery id, to a path's first segment, with the beginning of its body.
func (n *notes) post(now time.Time, id, path string, head []byte) {
	key, err := uuid.Parse(id)
	due, dated := bodyTime(head)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.received.Count++; n.received.Count == 1 {
		n.received.First = now
	}
	n.received.Last = now
	if err == nil {
		if _, known := n.ids[key]; known {
			n.received.Repeated++
		}
		n.ids[key] = struct{}{}
	}
	p := n.paths[path]
	if p == nil {
		p = &pathNotes{}
		n.paths[strings.Clone(path)] = p
	}
	p.count++
	if !dated || due.Before(n.from) {
		return
	}
	p.latency.Add(now.Sub(due))
	if i := int(now.Sub(n.from) / slot); i >= 0 && i < slots {
		if i >= len(p.slots) {
			p.slots = append(p.slots, make([]int64, i+1-len(p.slots))...)
		}
		p.slots[i]++
	}
}

func (n *notes) report() Received {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.received
	r.Paths = map[string]Path{}
	for name, p := range n.paths {
		rate := make([]Point, len(p.slots))
		for i, count := range p.slots {
			rate[i] = Point{At: time.Duration(i) * slot, Value: float64(count) / slot.Seconds()}
		}
		r.Paths[name] = Path{Count: p.count, Latency: p.latency.Clone(), Rate: rate}
	}
	return r
}

func (n *notes) count() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.received.Count
}

// receiverPart is the receiver's process: receive answers webhooks, control is for its Receiver.
func receiverPart() (receive http.Handler, control map[string]http.HandlerFunc) {
	n := newNotes(time.Unix(0, 0))
	buffers := sync.Pool{New: func() any { return new([headBytes]byte) }}
	receive = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		now := time.Now()
		buf := buffers.Get().(*[headBytes]byte)
		defer buffers.Put(buf)
		head, err := readHead(req.Body, buf[:])
		if err != nil {
			return // the sender has given up
		}
		path := strings.TrimPrefix(req.URL.Path, "/")
		first, _, _ := strings.Cut(path, "/")
		n.post(now, req.Header.Get("Webhook-Id"), first, head)
		answer, err := hold(req, path)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		case answer:
			w.WriteHeader(http.StatusNoContent)
		default:
			panic(http.ErrAbortHandler) // which closes the connection without a word
		}
	})
	return receive, map[string]http.HandlerFunc{
		"GET /report": func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(n.report()) },
		"GET /count":  func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(n.count()) },
		"GET /reset": func(w http.ResponseWriter, req *http.Request) {
			nanos, err := strconv.ParseInt(req.URL.Query().Get("from"), 10, 64)
			if err != nil {
				http.Error(w, "from: want a time in Unix nanoseconds", http.StatusBadRequest)
				return
			}
			n.reset(time.Unix(0, nanos))
			_, _ = w.Write([]byte("{}"))
		},
	}
}
