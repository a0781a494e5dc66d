package redisstate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorstep-dev/doorstep/pkg/failure"
)

// Times of Mailed.
const (
	// MailLease is how long a mail is left to the notifier that sends it: longer than a mail may take.
	MailLease = 2 * time.Minute
	// MailedFor is how long it is known that a mail has ended: longer than the log keeps the notice.
	MailedFor = 8 * 24 * time.Hour
)

// Mailed keeps notifiers from sending a mail that another is sending or has sent. Mails are named by
// failure.MailedID.
type Mailed struct {
	client        *Client
	holder        string
	take, release *redis.Script
}

// Lease is what Take found. Without either, another holder sends the mail.
type Lease struct {
	Taken  bool               // the mail is this holder's to send
	Result failure.MailResult // of a mail that has ended
}

// What a key holds: who sends the mail, or what came of it.
const (
	sentBy = "by "
	ended  = "ended "
)

const takeScript = `
local now = redis.call('GET', KEYS[1]) or ''
if now == '' or now == ARGV[1] then
	redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
	return ''
end
return now
`

const releaseScript = `
if redis.call('GET', KEYS[1]) == ARGV[1] then
	redis.call('DEL', KEYS[1])
end
return ''
`

// Mailed are the mails in this Redis as holder sees them. A holder that is started again under the same name
// finds its former life's leases its own; no two processes may have the same.
func (c *Client) Mailed(holder string) *Mailed {
	return &Mailed{client: c, holder: holder, take: redis.NewScript(takeScript), release: redis.NewScript(releaseScript)}
}

func (m *Mailed) key(id string) string { return m.client.prefix + "mailed:" + id }

// Take takes the lease of a mail for MailLease, unless the mail has ended or another sends it.
func (m *Mailed) Take(ctx context.Context, id string) (Lease, error) {
	var now string
	err := m.client.call(ctx, func(ctx context.Context) (err error) {
		now, err = m.take.Run(ctx, m.client.redis, []string{m.key(id)}, sentBy+m.holder, MailLease.Milliseconds()).Text()
		return err
	})
	if err != nil {
		return Lease{}, fmt.Errorf("take mail %s: %w", id, err)
	}
	if now == "" {
		return Lease{Taken: true}, nil
	}
	if result, is := strings.CutPrefix(now, ended); is {
		return Lease{Result: failure.MailResult(result)}, nil
	}
	if strings.HasPrefix(now, sentBy) {
		return Lease{}, nil
	}
	return Lease{}, fmt.Errorf("take mail %s: its key holds %d bytes that mean nothing", id, len(now))
}

// End notes what came of a mail, for MailedFor.
func (m *Mailed) End(ctx context.Context, id string, result failure.MailResult) error {
	err := m.client.call(ctx, func(ctx context.Context) error {
		return m.client.redis.Set(ctx, m.key(id), ended+string(result), MailedFor).Err()
	})
	if err != nil {
		return fmt.Errorf("note mail %s as %s: %w", id, result, err)
	}
	return nil
}

// Release gives up the lease of a mail that was not sent, if this holder has it.
func (m *Mailed) Release(ctx context.Context, id string) error {
	err := m.client.call(ctx, func(ctx context.Context) error {
		return m.release.Run(ctx, m.client.redis, []string{m.key(id)}, sentBy+m.holder).Err()
	})
	if err != nil {
		return fmt.Errorf("release mail %s: %w", id, err)
	}
	return nil
}
