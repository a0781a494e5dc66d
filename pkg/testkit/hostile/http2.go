package hostile

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Peer is a receiver's side of one HTTP/2 connection, as low as frames. Reading is one goroutine's
// alone; writing is any's.
type Peer struct {
	conn   *tls.Conn
	reader *http2.Framer
	ids    map[uint32]string // webhook-id of the requests whose body is to come

	mu      sync.Mutex // of all below
	writer  *http2.Framer
	encoded bytes.Buffer
	encoder *hpack.Encoder

	windows sync.Mutex // of what the client lets come
	more    *sync.Cond // a window grew, or the client went
	initial int64
	window  map[uint32]int64 // beyond initial for streams; 0: the connection's
	gone    bool
}

// HTTP2 opens a connection: TLS, the client's preface, and settings. It errs if the client does
// not speak HTTP/2.
func (s *Server) HTTP2(c net.Conn, settings ...http2.Setting) (*Peer, error) {
	secure := s.secure(c, "h2")
	if err := secure.Handshake(); err != nil {
		return nil, err
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(secure, preface); err != nil {
		return nil, err
	}
	p := &Peer{conn: secure, ids: map[uint32]string{}, reader: http2.NewFramer(nil, secure), writer: http2.NewFramer(secure, nil)}
	p.encoder = hpack.NewEncoder(&p.encoded)
	p.more, p.initial, p.window = sync.NewCond(&p.windows), 65535, map[uint32]int64{0: 65535}
	p.reader.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return p, p.Write(func(w *http2.Framer) error { return w.WriteSettings(settings...) })
}

// Write writes frames.
func (p *Peer) Write(f func(w *http2.Framer) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f(p.writer)
}

// Next reads the next request with its body, and returns its stream and its header webhook-id. It
// acknowledges settings and pings meanwhile.
func (p *Peer) Next() (stream uint32, id string, err error) {
	for {
		frame, err := p.reader.ReadFrame()
		if err != nil {
			return 0, "", err
		}
		ended := false
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				if field.Name == "webhook-id" {
					p.ids[f.StreamID] = field.Value
				}
			}
			ended = f.StreamEnded()
		case *http2.DataFrame:
			ended = f.StreamEnded()
			if n := f.Length; n > 0 {
				err = p.Write(func(w *http2.Framer) error { return w.WriteWindowUpdate(0, n) })
			}
			if err != nil {
				return 0, "", err
			}
		default:
			p.grow(frame)
			if err := p.acknowledge(frame); err != nil {
				return 0, "", err
			}
		}
		if ended {
			stream = frame.Header().StreamID
			id = p.ids[stream]
			delete(p.ids, stream)
			return stream, id, nil
		}
	}
}

func (p *Peer) acknowledge(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return p.Write(func(w *http2.Framer) error { return w.WriteSettingsAck() })
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return p.Write(func(w *http2.Framer) error { return w.WritePing(true, f.Data) })
		}
	}
	return nil
}

// grow notes what the client lets come.
func (p *Peer) grow(frame http2.Frame) {
	p.windows.Lock()
	defer p.windows.Unlock()
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if size, said := f.Value(http2.SettingInitialWindowSize); said {
			p.initial = int64(size)
		}
	case *http2.WindowUpdateFrame:
		p.window[f.StreamID] += int64(f.Increment)
	case *http2.RSTStreamFrame:
		p.window[f.StreamID] = -1 << 40
	}
	p.more.Broadcast()
}

// paced writes data without end, as fast as the client lets it come.
func paced(p *Peer, stream uint32) error {
	const size = 8 << 10
	block := string(make([]byte, size))
	for {
		p.windows.Lock()
		for !p.gone && (p.window[0] < size || p.initial+p.window[stream] < size) {
			p.more.Wait()
		}
		p.window[0] -= size
		p.window[stream] -= size
		gone := p.gone
		p.windows.Unlock()
		if gone {
			return io.EOF
		}
		if err := p.Body(stream, false, block); err != nil {
			return err
		}
	}
}

// Serve calls f for each request, on a goroutine of its own, until the client goes or an f errs; then
// the connection is closed.
func (p *Peer) Serve(f func(stream uint32, id string) error) {
	var streams sync.WaitGroup
	for {
		stream, id, err := p.Next()
		if err != nil {
			break
		}
		streams.Go(func() {
			if err := f(stream, id); err != nil {
				_ = p.conn.NetConn().Close()
			}
		})
	}
	_ = p.conn.NetConn().Close()
	p.windows.Lock()
	p.gone = true
	p.more.Broadcast()
	p.windows.Unlock()
	streams.Wait()
}

// Head writes the headers of an answer, names with their values, in as many frames as they need.
func (p *Peer) Head(stream uint32, end bool, fields ...string) error {
	const most = 16 << 10
	return p.Write(func(w *http2.Framer) error {
		rest := p.encode(fields)
		first := rest[:min(most, len(rest))]
		rest = rest[len(first):]
		err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndHeaders: len(rest) == 0, EndStream: end})
		for err == nil && len(rest) > 0 {
			next := rest[:min(most, len(rest))]
			rest = rest[len(next):]
			err = w.WriteContinuation(stream, len(rest) == 0, next)
		}
		return err
	})
}

func (p *Peer) encode(fields []string) []byte {
	p.encoded.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = p.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // into memory
	}
	return p.encoded.Bytes()
}

// Body writes a part of an answer's body.
func (p *Peer) Body(stream uint32, end bool, b string) error {
	return p.Write(func(w *http2.Framer) error { return w.WriteData(stream, end, []byte(b)) })
}

// over2 answers each request over HTTP/2 by f.
func over2(f func(p *Peer, stream uint32) error, settings ...http2.Setting) open {
	return open{"https", func(s *Server, c *net.TCPConn) {
		if p, err := s.HTTP2(c, settings...); err == nil {
			p.Serve(func(stream uint32, _ string) error { return f(p, stream) })
		}
	}}
}

// writes answers each request by a few frames.
func writes(f func(w *http2.Framer, stream uint32) error) open {
	return over2(func(p *Peer, stream uint32) error {
		return p.Write(func(w *http2.Framer) error { return f(w, stream) })
	})
}

// answers is a head, complete unless a body follows.
func answers(end bool, fields ...string) func(p *Peer, stream uint32) error {
	return func(p *Peer, stream uint32) error { return p.Head(stream, end, fields...) }
}

// andThen does one after the other.
func andThen(steps ...func(p *Peer, stream uint32) error) open {
	return over2(func(p *Peer, stream uint32) error {
		for _, step := range steps {
			if err := step(p, stream); err != nil {
				return err
			}
		}
		return nil
	})
}

// endless writes frames again and again, as fast as it goes, until the client goes.
func endless(frame func(w *http2.Framer, stream uint32) error) func(p *Peer, stream uint32) error {
	return func(p *Peer, stream uint32) error {
		var raw bytes.Buffer
		for w := http2.NewFramer(&raw, nil); raw.Len() < 16<<10; {
			if err := frame(w, stream); err != nil {
				return err
			}
		}
		for {
			if err := p.Write(func(*http2.Framer) error { _, err := p.conn.Write(raw.Bytes()); return err }); err != nil {
				return err
			}
		}
	}
}

func quiet(*Peer, uint32) error { return nil }

func goes(*Peer, uint32) error { return io.EOF }

func body(end bool, b string) func(p *Peer, stream uint32) error {
	return func(p *Peer, stream uint32) error { return p.Body(stream, end, b) }
}

// bigData is data that heeds no window.
func bigData(w *http2.Framer, stream uint32) error {
	return w.WriteData(stream, false, make([]byte, 16<<10))
}

func http2Kinds() []Kind {
	return slices.Concat(http2Slow(), http2Large(), http2Bad(), http2Floods(), http2Gone())
}

// raw2 is TLS with HTTP/2 agreed on, and no more.
func raw2(f func(c net.Conn)) open {
	return open{"https", func(s *Server, c *net.TCPConn) {
		if secure := s.secure(c, "h2"); secure.Handshake() == nil {
			f(secure)
		}
	}}
}

func http2Slow() []Kind {
	return []Kind{
		{"HTTP/2: hangs", timeout, 0, "did not answer", Total, over2(quiet)},
		{"HTTP/2: never opens", timeout, 0, "did not answer", Total, raw2(hang)},
		{"HTTP/2: acknowledges nothing", timeout, 0, "did not answer", Total, open{"https", func(s *Server, c *net.TCPConn) {
			if p, err := s.HTTP2(c); err == nil {
				hang(p.conn)
			}
		}}},
		{"HTTP/2: gives no window for the body", timeout, 0, "did not answer", Total, over2(quiet, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})},
		{"HTTP/2: stalls behind large headers", timeout, 200, "did not end", Total, andThen(answers(false, append([]string{":status", "200"}, manyHeaders()...)...))},
		{"HTTP/2: fills its window and stalls", timeout, 200, "did not end", Total, andThen(answers(false, ":status", "200"), body(false, strings.Repeat("x", 16<<10)), body(false, strings.Repeat("x", 16<<10)), body(false, strings.Repeat("x", 16<<10)))},
		{"HTTP/2: drips the body", timeout, 200, "did not end", Total, andThen(answers(false, ":status", "200"), func(p *Peer, stream uint32) error {
			ticker := time.NewTicker(20 * time.Millisecond)
			defer ticker.Stop()
			for range ticker.C {
				if err := p.Body(stream, false, "x"); err != nil {
					return err
				}
			}
			return nil
		})},
		{"HTTP/2: says 100 and hangs", timeout, 0, "did not answer", Total, andThen(answers(false, ":status", "100"))},
		{"HTTP/2: goes away and hangs", timeout, 0, "did not answer", Total, writes(func(w *http2.Framer, stream uint32) error { return w.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil) })},
		{"HTTP/2: reads no more and drips", timeout, Any, "", Total, open{"https", readsNoMore}},
		{"HTTP/2: allows no streams", timeout, 0, "did not answer", Total, over2(quiet, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})},
	}
}

// manyHeaders are as many short headers as 64 KiB hold, 32 bytes counted for each beside its own.
func manyHeaders() []string {
	var fields []string
	for i := range 1800 {
		fields = append(fields, strconv.FormatInt(int64(i), 36), "")
	}
	return fields
}

// readsNoMore lets bodies come without limit, and from the first request's head on reads nothing, while
// its answer goes on.
func readsNoMore(s *Server, c *net.TCPConn) {
	p, err := s.HTTP2(c, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	if err != nil || p.Write(func(w *http2.Framer) error { return w.WriteWindowUpdate(0, 1<<30) }) != nil {
		return
	}
	for {
		frame, err := p.reader.ReadFrame()
		if err != nil {
			return
		}
		if head, is := frame.(*http2.MetaHeadersFrame); is {
			err := p.Head(head.StreamID, false, ":status", "200")
			for tick := time.NewTicker(20 * time.Millisecond); err == nil; {
				select {
				case <-tick.C:
					err = p.Body(head.StreamID, false, strings.Repeat("x", 300))
				case <-s.stop:
					return
				}
			}
			return
		}
	}
}

func http2Large() []Kind {
	ok := answers(false, ":status", "200")
	large, bomb := []string{":status", "200"}, []string{":status", "200"}
	for i := range 70 {
		large = append(large, fmt.Sprintf("x-%d", i), strings.Repeat("b", 1000))
	}
	for range 10_000 {
		bomb = append(bomb, "x-a", strings.Repeat("b", 3900)) // a byte each, from the table
	}
	return []Kind{
		{"HTTP/2: sends 10 GB", tooLarge, 200, "body", Nothing, andThen(answers(false, ":status", "200", "content-length", "10737418240"), paced)},
		{"HTTP/2: sends a body without end", tooLarge, 200, "body", Nothing, andThen(ok, paced)},
		{"HTTP/2: heeds no window", protocol + "," + tooLarge, Any, "", Nothing, andThen(ok, endless(bigData))},
		{"HTTP/2: refuses with 10 GB", status, 500, "500", Nothing, andThen(answers(false, ":status", "500"), paced)},
		{"HTTP/2: sends 1xx without end", tooLarge, 0, "KiB", Nothing, over2(func(p *Peer, stream uint32) (err error) {
			for err == nil {
				err = p.Head(stream, false, ":status", "103", "link", "</a>")
			}
			return err
		})},
		{"HTTP/2: sends large headers", protocol, 0, "headers", Nothing, andThen(answers(true, large...))},
		{"HTTP/2: sends a header bomb", tooLarge, 0, "headers", Nothing, andThen(answers(true, bomb...))},
		{"HTTP/2: sends headers without end", protocol, 0, "HTTP/2", Nothing, writes(func(w *http2.Framer, stream uint32) error {
			err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x88}})
			for err == nil {
				err = w.WriteContinuation(stream, false, bytes.Repeat([]byte{0, 1, 'a', 1, 'b'}, 3000))
			}
			return err
		})},
		{"HTTP/2: sends empty CONTINUATIONs without end", tooLarge, 0, "over 512 KiB", Nothing, writes(func(w *http2.Framer, stream uint32) error {
			err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x88}})
			for err == nil {
				err = w.WriteContinuation(stream, false, nil)
			}
			return err
		})},
	}
}

func http2Bad() []Kind {
	ok := answers(false, ":status", "200")
	return []Kind{
		{"HTTP/2: sends more than it said", protocol, 200, "", Nothing, andThen(answers(false, ":status", "200", "content-length", "1"), body(true, "abc"))},
		{"HTTP/2: sends less than it said", broken, 200, "before the answer's end", Nothing, andThen(answers(false, ":status", "200", "content-length", "10"), body(true, "abc"))},
		{"HTTP/2: sends data after the end", "", 204, "", Nothing, andThen(answers(true, ":status", "204"), body(true, "abc"))},
		{"HTTP/2: sends data before the headers", protocol, 0, "HTTP/2", Nothing, andThen(body(true, "abc"))},
		{"HTTP/2: says 204 with a body", "", 204, "", Nothing, andThen(answers(false, ":status", "204"), body(true, "abc"))},
		{"HTTP/2: ends with 103", protocol, 0, "HTTP/2", Nothing, andThen(answers(true, ":status", "103"))},
		{"HTTP/2: switches protocols", timeout, 0, "did not answer", Total, andThen(answers(false, ":status", "101"))},
		{"HTTP/2: has no status", protocol, 0, "HTTP/2", Nothing, andThen(answers(true, "x-a", "b"))},
		{"HTTP/2: has a status that is none", protocol, 0, "HTTP/2", Nothing, andThen(answers(true, ":status", "yes"))},
		{"HTTP/2: overflows a stream's window", protocol, 0, "HTTP/2", Nothing, writes(func(w *http2.Framer, stream uint32) error { return w.WriteWindowUpdate(stream, 1<<31-1) })},
		{"HTTP/2: overflows the connection's window", protocol, 0, "HTTP/2", Nothing, writes(func(w *http2.Framer, _ uint32) error { return w.WriteWindowUpdate(0, 1<<31-1) })},
		{"HTTP/2: has NUL in a header", protocol, 0, "headers", Nothing, andThen(answers(true, ":status", "200", "x-a", "b\x00c"))},
		{"HTTP/2: has capitals in a header", protocol, 0, "headers", Nothing, andThen(answers(true, ":status", "200", "X-A", "b"))},
		{"HTTP/2: has trailers that do not end", protocol, 200, "HTTP/2", Nothing, andThen(ok, answers(false, "x-a", "b"))},
		{"HTTP/2: pushes", protocol, 0, "HTTP/2", Nothing, over2(func(p *Peer, stream uint32) error {
			return p.Write(func(w *http2.Framer) error {
				b := p.encode([]string{":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/"})
				return w.WritePushPromise(http2.PushPromiseParam{StreamID: stream, PromiseID: 2, BlockFragment: b, EndHeaders: true})
			})
		})},
		{"HTTP/2: is HTTP/1", protocol, 0, "HTTP/2", Nothing, raw2(func(c net.Conn) {
			if _, err := io.CopyN(io.Discard, c, int64(len(http2.ClientPreface))); err != nil {
				return
			}
			for r := http2.NewFramer(nil, c); ; { // before a request is there, the client may not get as far as one
				if frame, err := r.ReadFrame(); err != nil {
					return
				} else if frame.Header().Type == http2.FrameHeaders {
					break
				}
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			hang(c)
		})},
		{"HTTP/2: sends a frame too long", protocol, 0, "HTTP/2", Nothing, writes(func(w *http2.Framer, stream uint32) error {
			return w.WriteRawFrame(http2.FrameData, 0, stream, make([]byte, 1<<20))
		})},
		{"HTTP/2: sends data on streams of its own", protocol, 0, "HTTP/2", Nothing, writes(func(w *http2.Framer, stream uint32) error {
			return w.WriteData(stream+1000, false, []byte("abc"))
		})},
	}
}

func http2Floods() []Kind {
	const flooded = "over 512 KiB"
	flood := func(frame func(w *http2.Framer, stream uint32) error) open { return andThen(endless(frame)) }
	return []Kind{
		{"HTTP/2: floods with PING", tooLarge, 0, flooded, Nothing, flood(func(w *http2.Framer, _ uint32) error { return w.WritePing(false, [8]byte{}) })},
		{"HTTP/2: floods with answers to PING", tooLarge, 0, flooded, Nothing, flood(func(w *http2.Framer, _ uint32) error { return w.WritePing(true, [8]byte{}) })},
		{"HTTP/2: floods with SETTINGS", tooLarge, 0, flooded, Nothing, flood(func(w *http2.Framer, _ uint32) error { return w.WriteSettings() })},
		{"HTTP/2: floods with unknown frames", tooLarge, 0, flooded, Nothing, flood(func(w *http2.Framer, _ uint32) error { return w.WriteRawFrame(0xbe, 0, 0, nil) })},
		{"HTTP/2: floods with PRIORITY", tooLarge, 0, flooded, Nothing, flood(func(w *http2.Framer, stream uint32) error {
			return w.WritePriority(stream, http2.PriorityParam{StreamDep: stream + 2})
		})},
		{"HTTP/2: floods with WINDOW_UPDATE", tooLarge, 0, flooded, Nothing, flood(func(w *http2.Framer, stream uint32) error { return w.WriteWindowUpdate(stream, 1) })},
		{"HTTP/2: floods with GOAWAY", tooLarge, 0, flooded, Nothing, flood(func(w *http2.Framer, _ uint32) error { return w.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil) })},
		{"HTTP/2: floods with resets of others", tooLarge, 0, flooded, Nothing, flood(func(w *http2.Framer, stream uint32) error { return w.WriteRSTStream(stream+1000, http2.ErrCodeCancel) })},
		{"HTTP/2: floods with empty DATA", tooLarge, 200, flooded, Nothing, andThen(answers(false, ":status", "200"), endless(func(w *http2.Framer, stream uint32) error { return w.WriteData(stream, false, nil) }))},
	}
}

// http2Gone go away or reset streams, with each of HTTP/2's codes.
func http2Gone() []Kind {
	goAway := func(of func(stream uint32) uint32, code http2.ErrCode) open {
		return writes(func(w *http2.Framer, stream uint32) error { return w.WriteGoAway(of(stream), code, []byte("bye")) })
	}
	before := func(stream uint32) uint32 { return stream - 1 }
	kinds := []Kind{
		{"HTTP/2: goes away from all", broken, 0, "GOAWAY", Nothing, open{"https", func(s *Server, c *net.TCPConn) {
			if p, err := s.HTTP2(c); err == nil && p.Write(func(w *http2.Framer) error { return w.WriteGoAway(0, http2.ErrCodeNo, nil) }) == nil {
				p.Serve(func(uint32, string) error { return nil })
			}
		}}},
		{"HTTP/2: goes away from the request", broken, 0, "GOAWAY", Nothing, goAway(before, http2.ErrCodeNo)},
		{"HTTP/2: goes away with an error", broken, 0, "GOAWAY", Nothing, goAway(before, http2.ErrCodeEnhanceYourCalm)},
		{"HTTP/2: goes away and closes", broken, 0, "GOAWAY", Nothing, over2(func(p *Peer, stream uint32) error {
			_ = p.Write(func(w *http2.Framer) error { return w.WriteGoAway(stream, http2.ErrCodeNo, nil) })
			return io.EOF
		})},
		{"HTTP/2: closes", broken, 0, "", Nothing, over2(goes)},
		{"HTTP/2: closes in the body", broken, 200, "before the answer's end", Nothing, andThen(answers(false, ":status", "200"), goes)},
		{"HTTP/2: resets in the body", broken, 200, "reset the HTTP/2 stream", Nothing, andThen(answers(false, ":status", "200"), func(p *Peer, stream uint32) error {
			return p.Write(func(w *http2.Framer) error { return w.WriteRSTStream(stream, http2.ErrCodeInternal) })
		})},
	}
	for code := http2.ErrCodeNo; code <= http2.ErrCodeHTTP11Required; code++ {
		words := map[http2.ErrCode]string{http2.ErrCodeRefusedStream: "refused the request", http2.ErrCodeHTTP11Required: "wants HTTP/1.1"}[code]
		kinds = append(kinds, Kind{"HTTP/2: resets, " + code.String(), broken, 0, cmp.Or(words, "reset the HTTP/2 stream"), Nothing,
			writes(func(w *http2.Framer, stream uint32) error { return w.WriteRSTStream(stream, code) })})
	}
	return kinds
}
