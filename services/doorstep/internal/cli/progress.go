package cli

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Input that takes no longer than this gets no progress bar.
const progressAfter = time.Second

// progress shows how far a long input has been read. Off a terminal it shows nothing. Its methods
// are called one at a time, its reader meanwhile.
type progress struct {
	w     io.Writer // nil: off
	size  int64     // bytes; -1: unknown
	start time.Time
	read  atomic.Int64
	bar   *progressbar.ProgressBar // nil until progressAfter
}

// newProgress shows progress through size bytes (-1: unknown) on w.
func newProgress(w io.Writer, size int64) *progress {
	p := &progress{size: size, start: time.Now()}
	if terminal(w) {
		p.w = w
	}
	return p
}

// reader counts what is read.
func (p *progress) reader(r io.Reader) io.Reader { return countingReader{r, &p.read} }

type countingReader struct {
	io.Reader
	n *atomic.Int64
}

func (r countingReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.n.Add(int64(n))
	return n, err
}

// published says how many events are acknowledged.
func (p *progress) published(n int) {
	if p.w == nil || n%100 != 0 || time.Since(p.start) < progressAfter {
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(p.size,
			progressbar.OptionSetWriter(p.w), progressbar.OptionShowBytes(true), progressbar.OptionSetWidth(30),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	p.bar.Describe(fmt.Sprintf("%d published", n))
	_ = p.bar.Set64(p.read.Load())
}

// clear removes the bar for a line of text, or for good; it comes back with the next event.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
