package e2e

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// tellingServer is a mail server that tells too much: it refuses the first sign-in and repeats what it was shown.
type tellingServer struct {
	addr string

	mu    sync.Mutex
	told  int // sign-ins that were refused
	mails [][]byte
}

func newTellingServer(t *testing.T) *tellingServer {
	t.Helper()
	s := &tellingServer{}
	s.addr = rawServer(t, s.serve)
	return s
}

func (s *tellingServer) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(c, format+"\r\n", args...) }
	say("220 localhost")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, rest, _ := strings.Cut(strings.TrimSpace(line), " "); strings.ToUpper(verb) {
		case "EHLO":
			say("250-localhost\r\n250 AUTH PLAIN")
		case "AUTH":
			say("%s", s.signIn(rest))
		case "DATA":
			say("354 go on")
			var mail strings.Builder
			for line, err = in.ReadString('\n'); err == nil && line != ".\r\n"; line, err = in.ReadString('\n') {
				mail.WriteString(line)
			}
			s.mu.Lock()
			s.mails = append(s.mails, []byte(mail.String()))
			s.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 fine")
		}
	}
}

func (s *tellingServer) signIn(shown string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told++
	if s.told > 1 {
		return "235 welcome"
	}
	_, text, _ := strings.Cut(shown, " ")
	plain, _ := base64.StdEncoding.DecodeString(text)
	user, password, _ := strings.Cut(strings.Trim(string(plain), "\x00"), "\x00")
	return fmt.Sprintf("454 4.7.0 AUTH %s: user %s with password %s is not known, try later", shown, user, password)
}

func (s *tellingServer) received() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]byte(nil), s.mails...)
}
