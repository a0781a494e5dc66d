package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/process"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/settings"
)

// healthTimeout bounds the question; a service answers within about a second, ready or not.
const healthTimeout = 3 * time.Second

// maxReadiness bounds what is read of an answer, in bytes.
const maxReadiness = 64 << 10

type healthCmd struct {
	Addrs []string                `name:"addr" env:"DOORSTEP_ADMIN_ADDR" default:":9090" placeholder:"[https://]HOST:PORT" help:"Admin address of a service, or the HTTP address of 'up'; without a host, this machine's. Of several, with commas between them, all must be ready. https:// or http:// before one says what it speaks, else the settings below do. The environment of the service says the same, so in its container no flag is needed."`
	TLS   settings.TLS            `embed:""`
	Own   credentials.ListenerTLS `embed:"" prefix:"admin-" envprefix:"DOORSTEP_ADMIN_"`
}

// Run asks for readiness. It is for containers, whose image has no shell and no other client.
func (c *healthCmd) Run(ctx context.Context, streams IO) error {
	serving, err := credentials.ServerTLS(c.TLS).Of("admin", c.Own, "")
	if err != nil {
		return usageError{err}
	}
	scheme := "http"
	if serving.CertFile != "" {
		scheme = "https"
	}
	var urls []string
	for _, addr := range c.Addrs {
		url, err := readyURL(addr, scheme)
		if err != nil {
			return usageError{err}
		}
		urls = append(urls, url)
	}
	var errs []error
	for i, url := range urls {
		if err := askReady(ctx, url); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.Addrs[i], err))
		} else if _, err := fmt.Fprintln(streams.Out, c.Addrs[i]+": ready"); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

// readyURL is where the service at addr says whether it is ready. Where addr has no scheme, it has this one.
func readyURL(addr, scheme string) (string, error) {
	at := addr
	for _, s := range []string{"http", "https"} {
		if rest, ok := strings.CutPrefix(addr, s+"://"); ok {
			scheme, at = s, rest
		}
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil || port == "" || strings.ContainsAny(port, "/?#@") {
		return "", fmt.Errorf("--addr %q: want HOST:PORT or :PORT", addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + "/readyz", nil
}

// askReady is nil if what answers at url is ready, else it errs with what is not.
func askReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	// The certificate is for the names that others use, not for this one; nothing is told to whoever answers.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // said above
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("not ready: nothing answers: %w", err)
	}
	defer resp.Body.Close()
	var r process.Readiness
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReadiness)).Decode(&r); err != nil {
		return fmt.Errorf("%s answers %s, but not as a service of Doorstep does", url, resp.Status)
	}
	if r.Ready {
		return nil
	}
	var waits []string
	for name, state := range r.Checks {
		if state != "ok" {
			waits = append(waits, name+": "+state)
		}
	}
	slices.Sort(waits)
	return errors.New("not ready: " + strings.Join(waits, "; "))
}
