package mail

import (
	"context"
	"crypto/tls"
	"net"
	"net/textproto"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

// quitTimeout bounds the farewell to a server.
const quitTimeout = 2 * time.Second

// connection is the one connection of a mail. It breaks when its context ends, whatever is under way on it:
// the client's own deadlines begin anew with each of its steps.
type connection struct {
	ctx  context.Context
	raw  net.Conn // nil until it is dialled
	stop func() bool
}

// dial connects; ctx bounds the connecting alone.
func (c *connection) dial(ctx context.Context, to server, config *tls.Config) (net.Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", to.address())
	if err != nil {
		return nil, err
	}
	c.raw = raw
	c.stop = context.AfterFunc(c.ctx, func() { _ = raw.Close() })
	if to.security != implicitTLS {
		return raw, nil
	}
	secured := tls.Client(raw, config)
	return secured, secured.HandshakeContext(ctx)
}

// quit says goodbye to a server that has taken a mail, or else answered with err. Nothing depends on it any more,
// and its answer is not waited for: until the caller has noted that the mail is sent, a crash sends it again.
func (c *connection) quit(client *smtp.Client, err error) {
	if err != nil && !is[*textproto.Error](err) {
		return // it does not listen
	}
	_ = client.UpdateDeadline(quitTimeout)
	_ = client.Text.PrintfLine("QUIT")
}

func (c *connection) close() {
	if c.raw != nil {
		c.stop()
		_ = c.raw.Close()
	}
}
