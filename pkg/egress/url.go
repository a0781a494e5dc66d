package egress

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// CheckURL says why raw may not be a webhook's URL, as an *Error, or returns it parsed, with its
// host in lower-case ASCII. A URL may be a target if it is absolute, https (or http, with
// AllowHTTP), without user name, password, fragment, spaces, backslashes and control characters, on
// port 443 or above 1023 (for http also 80), and its host is either an address that CheckAddr
// allows, written in the one usual way, or a DNS name of at least two labels that is not local.
// Where a name leads is judged when it is dialled.
func (p Policy) CheckURL(raw string) (*url.URL, error) {
	if strings.ContainsFunc(raw, unfit) {
		return nil, refuseURL("the URL holds a space, a backslash or a control character; leave it out, or write a space as %%20")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, unreadable(err)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, refuseURL("the URL must start with https://, e.g. https://example.com/path")
	case u.Scheme == "http" && !p.AllowHTTP:
		return nil, refuseURL("the URL must start with https://; plain http is not allowed here")
	case u.Opaque != "" || u.Host == "":
		return nil, refuseURL("the URL must name a host after %s://", u.Scheme)
	case u.User != nil:
		return nil, refuseURL("the URL must not hold a user name or password; use a header for credentials")
	case strings.Contains(raw, "#"):
		return nil, refuseURL("the URL must not hold a fragment (#), which is never sent; leave it out")
	}
	port, err := checkPort(u)
	if err != nil {
		return nil, err
	}
	host, err := p.checkHost(u)
	if err != nil {
		return nil, err
	}
	u.Host = host + port
	return u, nil
}

// unfit reports characters that programs read differently: some drop them, some end the host there,
// some take a backslash for a slash. In a query net/http would send a space as it is, which ends the
// request's target there.
func unfit(c rune) bool { return c <= ' ' || c == 0x7f || c == '\\' }

// unreadable says why a URL cannot be parsed, without the parser's words: they repeat the URL, which
// may hold a token.
func unreadable(err error) error {
	if whole := new(url.Error); errors.As(err, &whole) {
		err = whole.Err
	}
	host, escape := url.InvalidHostError(""), url.EscapeError("")
	switch text := err.Error(); {
	case strings.Contains(text, "userinfo"):
		return refuseURL("the URL must not hold a user name or password (an @ before the host); use a header for credentials")
	case strings.Contains(text, "invalid port"):
		return refuseURL("the URL's port is not a number; use 443 or one above 1023")
	case errors.As(err, &host), strings.Contains(text, " host"), strings.Contains(text, "IP-literal"):
		return refuseURL("the URL's host holds a character that has no place there; it must be a name like hooks.example.com, or an address")
	case errors.As(err, &escape):
		return refuseURL("the URL holds a %% that does not stand before two hexadecimal digits, or stands in the host; write it as %%25")
	default:
		return refuseURL("the URL cannot be read as one; it looks like https://example.com/path")
	}
}

// checkPort returns the port as it stands in the URL, ":8443", or nothing.
func checkPort(u *url.URL) (string, error) {
	port := u.Port()
	if port == "" {
		if strings.HasSuffix(u.Host, ":") {
			return "", refuseURL("the URL has a colon behind its host but no port; leave the colon out, or add the port")
		}
		return "", nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != port {
		return "", refuseURL("the port %.10q is not a number up to 65535; use 443 or one above 1023", port)
	}
	if n > 1023 || n == 443 || n == 80 && u.Scheme == "http" {
		return ":" + port, nil
	}
	return "", refuseURL("the port %d is not allowed; use 443 or one above 1023", n)
}

// checkHost returns the host in lower-case ASCII, IPv6 in brackets.
func (p Policy) checkHost(u *url.URL) (string, error) {
	host := u.Hostname()
	if strings.HasPrefix(u.Host, "[") {
		addr, err := netip.ParseAddr(host)
		switch {
		case err != nil || !addr.Is6():
			return "", refuseURL("the host %.60q is not an IPv6 address; only those stand in brackets, as in https://[2001:db8::7]/", host)
		case addr.Zone() != "":
			return "", refuseURL("the host %.60q names a network interface (%%zone); leave that part out", host)
		}
		return "[" + addr.String() + "]", p.CheckAddr(addr)
	}
	host, err := asciiHost(host)
	if err != nil {
		return "", err
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is4() {
		return host, p.CheckAddr(addr)
	}
	return host, p.checkName(host)
}

// asciiHost maps an international name as net/http does, so that what is judged is what is dialled.
func asciiHost(host string) (string, error) {
	lower := strings.ToLower(host)
	if isASCII(lower) && !strings.Contains(lower, "xn--") {
		return lower, nil
	}
	if len(host) > 4*253 { // longer than any name in UTF-8; punycode takes quadratic time
		return "", refuseURL("the host %.60q is too long; use a name of at most 253 characters", host)
	}
	ascii, err := idna.Lookup.ToASCII(host)
	// Not every result is itself valid (bytes that are no UTF-8, for one): it is asked again.
	if again, againErr := idna.Lookup.ToASCII(ascii); err != nil || againErr != nil || again != ascii || ascii == "" || !isASCII(ascii) {
		return "", refuseURL("the host %.60q is not a valid international domain name; check its spelling", host)
	}
	return ascii, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// localNames are top-level names that never lead to the public internet (RFC 6761, RFC 6762, and
// .internal as ICANN reserved it).
var localNames = []string{"localhost", "localdomain", "local", "internal"}

func (p Policy) checkName(host string) error {
	name := strings.TrimSuffix(host, ".")
	if !validName(name) {
		return refuseURL("the host %.60q is not a valid domain name; check its spelling", host)
	}
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	if '0' <= last[0] && last[0] <= '9' {
		// Resolvers read 2130706433, 0x7f.1, 0177.0.0.1 and 127.1 as addresses, and nobody knows what the
		// next one reads. No top-level name begins with a digit.
		return refuseURL("the host %.60q is an IP address in an unusual form; write it as four decimal numbers", host)
	}
	if last == "localhost" && p.allowsLoopback() {
		return nil
	}
	for _, local := range localNames {
		if last == local {
			return refuseURL("the host %.60q is a local name (.%s); use one that is known in public, e.g. hooks.example.com", host, local)
		}
	}
	if len(labels) < 2 {
		return refuseURL("the host %.60q is a local name; use one with a domain, e.g. hooks.example.com", host)
	}
	return nil
}

// validName reports whether name could be in DNS: labels of letters, digits, '-' and '_', which
// some hosts have although it is not one of a host name's characters.
func validName(name string) bool {
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
