package post_test

import (
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit/hostile"
)

// Whatever a receiver does, the attempt ends in time with a code and words of its own.
func TestHostileKinds(t *testing.T) {
	t.Parallel()
	const (
		limit = 2 * time.Second // where time is what ends the attempt
		slack = 8 * time.Second // for a machine that has other work
	)
	authority := hostile.NewAuthority(t)
	kinds := hostile.Kinds()
	type result struct {
		delivery.Outcome

		limit time.Duration
	}
	outcomes := make([][2]result, len(kinds)) // the second attempt may find the connection of the first
	var group errgroup.Group
	group.SetLimit(24) // not all floods at once: silent HTTP/2 is closed after 8 s, and so is one that is not heard
	for i, kind := range kinds {
		client := newClient(t, func(c *post.Config) {
			c.RootCAs = authority.Pool()
			if kind.Waits == hostile.Connect {
				c.ConnectTimeout = limit
			}
		})
		request := post.Request{URL: authority.Start(t, kind).URL, Body: make([]byte, 16<<10)}
		if kind.Waits == hostile.Total {
			request.Timeout = limit
		}
		group.Go(func() error {
			for n := range outcomes[i] {
				out := attempt(t, client, request)
				begins := out.ErrorCode != post.CodeConnectTimeout && (kind.Status <= 0 || out.StatusCode != 0 || out.ErrorCode != post.CodeTimeout)
				if kind.Waits == hostile.Total && !begins { // the machine was busy, and what is to be seen did not begin
					request.Timeout = 3 * limit // less than what silent HTTP/2 is given
					out = attempt(t, client, request)
				}
				outcomes[i][n] = result{out, max(request.Timeout, limit)}
			}
			return nil
		})
	}
	_ = group.Wait() // of functions that do not err
	for i, kind := range kinds {
		t.Run(kind.Name, func(t *testing.T) {
			for _, out := range outcomes[i] {
				if !kind.Allows(out.ErrorCode) {
					t.Errorf("%q (%s), want %q", out.ErrorCode, out.Error, kind.Code)
				}
				wantCode(t, out.Outcome, out.ErrorCode, kind.Words)
				if out.StatusCode != kind.Status && kind.Status != hostile.Any || !utf8.ValidString(out.Error) {
					t.Errorf("status %d, want %d; words %q", out.StatusCode, kind.Status, out.Error)
				}
				if kind.Waits != hostile.Nothing && out.Phases.Total > out.limit+slack {
					t.Errorf("it took %s", out.Phases.Total)
				}
			}
		})
	}
}
