package embedded

import (
	"errors"
	"net"
	"time"
)

// patientListener accepts on after errors that pass, such as too many open files. The embedded servers
// stop for good at the first error.
type patientListener struct{ net.Listener }

// The wait after an error, doubled up to the longest.
const (
	firstAcceptWait = 5 * time.Millisecond
	lastAcceptWait  = time.Second
)

func (l patientListener) Accept() (net.Conn, error) {
	for wait := firstAcceptWait; ; wait = min(2*wait, lastAcceptWait) {
		conn, err := l.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return conn, err
		}
		time.Sleep(wait) // a listener has no context; its Close is heeded within a second
	}
}

func listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return patientListener{l}, nil
}
