package embedded

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// hungry is a listener that has no file descriptor left for the first connections.
type hungry struct {
	net.Listener
	left int
}

func (h *hungry) Accept() (net.Conn, error) {
	if h.left > 0 {
		h.left--
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: unix.EMFILE}
	}
	return h.Listener.Accept()
}

func TestListenerOutlivesAWantOfFiles(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	patient := patientListener{&hungry{l, 3}}
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := patient.Accept()
	if err != nil {
		t.Fatalf("Accept = %v", err)
	}
	accepted.Close()
	l.Close()
	if _, err := patient.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v", err)
	}
}
