package console

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestTarget(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		url   string
		addrs []string // that the host resolves to; nil: it does not
		ok    bool
	}{
		"public":               {"https://hooks.example.com/", []string{"93.184.215.14"}, true},
		"not resolvable":       {"https://hooks.example.com/", nil, true},
		"inner":                {"https://hooks.example.com/", []string{"10.0.0.8"}, false},
		"inner, mapped":        {"https://hooks.example.com/", []string{"::ffff:10.0.0.8"}, false},
		"public and inner":     {"https://hooks.example.com/", []string{"93.184.215.14", "127.0.0.1"}, false},
		"no URL for a webhook": {"https://localhost/", []string{"93.184.215.14"}, false},
		"a public address":     {"https://93.184.215.14/", []string{"10.0.0.8"}, true},
	} {
		check := target{lookup: func(context.Context, string) (addrs []netip.Addr, err error) {
			for _, a := range tt.addrs {
				addrs = append(addrs, netip.MustParseAddr(a))
			}
			if addrs == nil {
				err = errors.New("no such host")
			}
			return addrs, err
		}}
		if err := check.check(t.Context(), tt.url); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTargetWaitsOneSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		check := target{lookup: func(ctx context.Context, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		start := time.Now()
		if err := check.check(t.Context(), "https://hooks.example.com/"); err != nil || time.Since(start) != time.Second {
			t.Errorf("%v after %s, want nil after 1s", err, time.Since(start))
		}
	})
}
