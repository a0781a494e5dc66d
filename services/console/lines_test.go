package console

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// slowClient is a connection that takes so many writes and then none.
type slowClient struct {
	*httptest.ResponseRecorder
	room      int
	deadlines int
}

func (c *slowClient) SetWriteDeadline(at time.Time) error {
	if until := time.Until(at); until > 0 && until <= lineTimeout {
		c.deadlines++
	}
	return nil
}

func (c *slowClient) Write(b []byte) (int, error) {
	if c.room--; c.room < 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return c.ResponseRecorder.Write(b)
}

func (c *slowClient) FlushError() error { return nil }

func TestLinesCutASlowClient(t *testing.T) {
	t.Parallel()
	c := &slowClient{ResponseRecorder: httptest.NewRecorder(), room: 2}
	l := &lines{w: c, rc: http.NewResponseController(c)}
	if err := errors.Join(l.write(), l.write(map[string]string{"url": "a&b"}, 2)); err != nil {
		t.Fatal(err)
	}
	if err := l.write(3); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("there is no room, and the write says %v", err)
	}
	if got, want := c.Body.String(), "\n{\"url\":\"a&b\"}\n2\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if c.deadlines != 3 {
		t.Errorf("%d of 3 writes had a deadline", c.deadlines)
	}
}
