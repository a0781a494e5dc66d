package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// transport is how connections begin: with TLS where the settings name a certificate.
func transport(cfg Config, log *slog.Logger) (credentials.TransportCredentials, error) {
	serving, err := cfg.serving()
	if err != nil {
		return nil, err
	}
	config, err := serving.Config(log)
	if err != nil {
		return nil, err
	}
	if config == nil {
		return insecure.NewCredentials(), nil
	}
	return telling{credentials.NewTLS(config)}, nil
}

// telling is TLS that tells gRPC's clients who do not speak it what is wrong; they would see their connection end
// without a word.
type telling struct {
	credentials.TransportCredentials
}

const (
	plainWords = "this address speaks TLS: connect with TLS (https)"
	// tellTimeout is how long such a client has to make its first call.
	tellTimeout = 2 * time.Second
)

// ServerHandshake is TLS's.
func (t telling) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	begun := &begun{Conn: conn, first: make([]byte, len("PRI"))}
	if _, err := io.ReadFull(conn, begun.first); err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("begin TLS: %w", err)
	}
	if string(begun.first) != "PRI" { // how HTTP/2 begins, and TLS never does
		return t.TransportCredentials.ServerHandshake(begun)
	}
	defer conn.Close()
	return nil, nil, errors.Join(errors.New("a client without TLS"), tell(begun))
}

// Clone is TLS's.
func (t telling) Clone() credentials.TransportCredentials {
	return telling{t.TransportCredentials.Clone()}
}

// tell answers the first call with what is wrong.
func tell(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(tellTimeout)); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, conn, int64(len(http2.ClientPreface))); err != nil {
		return err
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return err
		}
		if headers, ok := frame.(*http2.HeadersFrame); ok {
			id := headers.StreamID
			err := errors.Join(framer.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: refusal(), EndHeaders: true, EndStream: true,
			}), framer.WriteGoAway(id, http2.ErrCodeNo, []byte(plainWords)))
			_, _ = io.Copy(io.Discard, conn) // closing with something unread could take the answer along
			return err
		}
	}
}

// refusal is an answer of gRPC that has nothing but a status.
func refusal() []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, f := range []hpack.HeaderField{
		{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"},
		{Name: "grpc-status", Value: strconv.Itoa(int(codes.Unavailable))}, {Name: "grpc-message", Value: plainWords},
	} {
		_ = e.WriteField(f) // a buffer takes everything
	}
	return b.Bytes()
}

// begun is a connection of which the first bytes have been read.
type begun struct {
	net.Conn
	first []byte
}

// Read gives them once more.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.first)
	b.first = b.first[n:]
	return n, nil
}
