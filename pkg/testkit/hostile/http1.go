package hostile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// Codes of outcomes, as pkg/post has them.
const (
	timeout        = "timeout"
	connectTimeout = "connect_timeout"
	tooLarge       = "response_too_large"
	broken         = "connection_reset"
	protocol       = "protocol"
	status         = "status"
	tlsFailed      = "tls"
)

const (
	ok      = "HTTP/1.1 200 OK\r\n"
	chunked = ok + "Transfer-Encoding: chunked\r\n\r\n"
	tenGB   = "Content-Length: 10737418240\r\n\r\n"
)

func megabyte() string { return strings.Repeat("x", 1<<20) }

// http1Kinds answer late, without end, or not at all.
func http1Kinds() []Kind {
	bomb := sync.OnceValue(gzipBomb)
	return []Kind{
		{"accepts and says nothing", timeout, 0, "did not answer", Total, plain(hang)},
		{"accepts and says nothing over TLS", timeout, 0, "did not answer", Total, over1(hang)},
		{"hangs in the status line", timeout, 0, "did not answer", Total, plain(then(says("HTTP/1.1 20"), hang))},
		{"drips headers", timeout, 0, "did not answer", Total, plain(then(says(ok), drips("X-A: b\r\n")))},
		{"drips the body", timeout, 200, "did not end", Total, plain(then(says(ok+"Content-Length: 1000\r\n\r\n"), drips("x")))},
		{"drips chunks over TLS", timeout, 200, "did not end", Total, over1(then(says(chunked), drips("1\r\nx\r\n")))},
		{"drips 1xx", timeout, 0, "did not answer", Total, plain(then(says(""), drips("HTTP/1.1 102 Processing\r\n\r\n")))},
		{"says 100 and hangs", timeout, 0, "did not answer", Total, plain(then(says("HTTP/1.1 100 Continue\r\n\r\n"), hang))},
		{"refuses and drips", status, 503, "503", Total, plain(then(says("HTTP/1.1 503 No\r\nContent-Length: 1000\r\n\r\n"), drips("x")))},
		{"stalls behind 60 KB of short headers", timeout, 0, "did not answer", Total, plain(then(says(ok+shortHeaders()), hang))},
		{"stalls in the body behind 60 KB of short headers", timeout, 200, "did not end", Total, plain(then(says(ok+shortHeaders()+"Content-Length: 1\r\n\r\n"), hang))},
		{"sends headers without end", tooLarge, 0, "headers", Nothing, plain(then(says(ok), repeats("X-A: "+strings.Repeat("b", 1000)+"\r\n")))},
		{"sends short headers without end", tooLarge, 0, "headers", Nothing, plain(then(says(ok), repeats(strings.Repeat("a:\r\n", 1000))))},
		{"sends a header without end", tooLarge, 0, "headers", Nothing, over1(then(says(ok+"X-A: "), repeats(megabyte())))},
		{"sends a status line without end", tooLarge, 0, "headers", Nothing, plain(then(says("HTTP/1.1 200 "), repeats(megabyte())))},
		{"sends 1xx without end", tooLarge, 0, "headers", Nothing, plain(then(says(""), repeats(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 400))))},
		{"sends 100 without end over TLS", tooLarge, 0, "headers", Nothing, over1(then(says(""), repeats(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 400))))},
		{"sends 10 GB", tooLarge, 200, "body", Nothing, plain(then(says(ok+tenGB), repeats(megabyte())))},
		{"sends 10 GB over TLS", tooLarge, 200, "body", Nothing, over1(then(says(ok+tenGB), repeats(megabyte())))},
		{"sends 10 GB in chunks", tooLarge, 200, "body", Nothing, plain(then(says(chunked), repeats("100000\r\n"+megabyte()+"\r\n")))},
		{"sends a body without end or length", tooLarge, 200, "body", Nothing, plain(then(says(ok+"\r\n"), repeats(megabyte())))},
		{"refuses with 10 GB", status, 500, "500", Nothing, plain(then(says("HTTP/1.1 500 No\r\n"+tenGB), repeats(megabyte())))},
		{"sends a gzip bomb", "", 200, "", Nothing, plain(func(c net.Conn) {
			text := bomb()
			always(fmt.Sprintf("%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", ok, len(text), text))(c)
		})},
		{"sends trailers without end", protocol, 200, "chunk", Nothing, plain(then(says(chunked+"1\r\nx\r\n0\r\n"), repeats(strings.Repeat("X-A: b\r\n", 1000))))},
		{"sends a chunk extension without end", protocol, 200, "chunk", Nothing, plain(then(says(chunked+"1;a="), repeats(megabyte())))},
		{"sends chunks of one byte with long extensions", protocol, 200, "chunk", Nothing, plain(then(says(chunked), repeats("1;a="+strings.Repeat("b", 3000)+"\r\nx\r\n")))},
		{"does not read", timeout, 0, "did not answer", Total, open{"http", func(s *Server, c *net.TCPConn) { _ = c.SetReadBuffer(4096); <-s.stop }}},
	}
}

// http1BadKinds break off or break the protocol.
func http1BadKinds() []Kind {
	return []Kind{
		{"closes at once", broken, 0, "without an answer", Nothing, plain(func(net.Conn) {})},
		{"resets at once", broken, 0, "without an answer", Nothing, plain(then(func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }, reset))},
		{"closes without an answer", broken, 0, "without an answer", Nothing, plain(says(""))},
		{"resets without an answer", broken, 0, "without an answer", Nothing, over1(then(says(""), reset))},
		{"closes in the headers", broken, 0, "without an answer", Nothing, plain(says(ok + "X-A: "))},
		{"closes in the body", broken, 200, "before the answer's end", Nothing, plain(says(ok + "Content-Length: 10\r\n\r\nabc"))},
		{"resets in the body", broken, 200, "before the answer's end", Nothing, plain(then(says(ok+"Content-Length: 10\r\n\r\nabc"), settle, reset))},
		{"closes in a chunk", broken, 200, "before the answer's end", Nothing, over1(says(chunked + "a\r\nabc"))},
		{"closes TLS without a word", "", 200, "", Nothing, over1(then(says(ok+"\r\nabc"), func(c net.Conn) {
			if t, isTLS := c.(interface{ NetConn() net.Conn }); isTLS {
				_ = t.NetConn().Close()
			}
		}))},
		{"resets after the answer", "", 204, "", Nothing, plain(then(says("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"), settle, reset))},
		{"promises more than there can be", protocol, 0, "headers", Nothing, plain(says(ok + "Content-Length: 99999999999999999999\r\n\r\n"))},
		{"promises 8 EB", broken, 200, "before the answer's end", Nothing, plain(says(ok + "Content-Length: 9223372036854775807\r\n\r\nabc"))},
		{"promises less than nothing", protocol, 0, "headers", Nothing, plain(says(ok + "Content-Length: -1\r\n\r\n"))},
		{"has two lengths", protocol, 0, "headers", Nothing, plain(says(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"))},
		{"has a length and chunks", "", 200, "", Nothing, plain(always(ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"))},
		{"has an unknown transfer encoding", protocol, 0, "headers", Nothing, plain(says(ok + "Transfer-Encoding: gzip, chunked\r\n\r\n"))},
		{"says 204 with a body", "", 204, "", Nothing, plain(always("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"))},
		{"says 304 with a body", "redirect", 304, "304", Nothing, plain(always("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"))},
		{"folds a header", "", 200, "", Nothing, plain(always(ok + "X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n"))},
		{"has NUL in a header", protocol, 0, "headers", Nothing, plain(says(ok + "X-A: b\x00c\r\nContent-Length: 0\r\n\r\n"))},
		{"has NUL in a header's name", protocol, 0, "headers", Nothing, plain(says(ok + "X-\x00A: b\r\nContent-Length: 0\r\n\r\n"))},
		{"ends lines with CR alone", protocol, 0, "does not begin as HTTP", Nothing, plain(says("HTTP/1.1 2x0 OK\rContent-Length: 0\r\r\n\r\n"))},
		{"is no HTTP", protocol, 0, "does not begin as HTTP", Nothing, plain(says("SSH-2.0-OpenSSH_9.2\xff\r\n\r\n"))},
		{"has a chunk's length that is none", protocol, 200, "chunk", Nothing, plain(says(chunked + "zz\r\n"))},
		{"switches protocols", protocol, 101, "101", Nothing, plain(then(says("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), repeats(megabyte())))},
		{"refuses before it reads", status, 413, "413", Nothing, plain(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			hang(c)
		})},
		{"answers twice", "", 200, "", Nothing, plain(func(c net.Conn) {
			for r := bufio.NewReader(c); ; {
				if _, err := Request(r); err != nil {
					return
				}
				_, _ = io.WriteString(c, ok+"Content-Length: 0\r\n\r\n"+"HTTP/1.1 418 Never\r\nContent-Length: 0\r\n\r\n")
			}
		})},
	}
}

// settle reads on until the sender has read what was written, as far as can be told: it closes, or
// says nothing for a while.
func settle(c net.Conn) {
	_ = c.SetReadDeadline(soon())
	_, _ = io.Copy(io.Discard, c)
}

// shortHeaders are 60 KB of the shortest headers that differ: some 10,000.
func shortHeaders() string {
	var b strings.Builder
	for i := 0; b.Len() < 60_000; i++ {
		b.WriteString(strconv.FormatInt(int64(i), 36) + ":\n")
	}
	return b.String()
}

// gzipBomb is 40 KB that unpack to 40 MB.
func gzipBomb() string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	block := megabyte()
	for range 40 {
		_, _ = io.WriteString(w, block)
	}
	_ = w.Close() // into memory
	return b.String()
}
