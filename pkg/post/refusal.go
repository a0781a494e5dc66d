package post

import (
	"fmt"
	"net/http"
	"strings"
)

// refusal is the code and the words for an answer that is no success. Nothing that the receiver wrote
// is repeated but the status and, of a redirect, the host that it leads to.
func refusal(resp *http.Response) (code, words string) {
	answered := fmt.Sprintf("the receiver answered %d", resp.StatusCode)
	if text := http.StatusText(resp.StatusCode); text != "" {
		answered += " " + text
	}
	switch s := resp.StatusCode; {
	case s == http.StatusSwitchingProtocols:
		return CodeProtocol, answered + ": it must answer a POST with a status from 200 to 299"
	case s >= 300 && s <= 399:
		return CodeRedirect, answered + redirect(resp)
	default:
		return CodeStatus, answered + ": " + adviceOn(s)
	}
}

// adviceOn is what to do about a status that is no success.
func adviceOn(status int) string {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return "it does not take the payload; look in its log for what it misses, and compare the webhook's payload settings with what it expects"
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return "check the webhook's secret and the credentials in its headers, and whether a firewall before the receiver lets Doorstep in"
	case http.StatusNotFound:
		return "check the path in the webhook's URL"
	case http.StatusMethodNotAllowed:
		return "check the path in the webhook's URL; what answers there must take POST"
	case http.StatusNotAcceptable, http.StatusUnsupportedMediaType:
		return "it does not take this content type; it must take JSON, or choose another payload format for the webhook"
	case http.StatusRequestTimeout:
		return "it did not get the request in time; check its load, and that of a proxy before it"
	case http.StatusGone:
		return "it wants no more webhooks at this URL, so the webhook is disabled; delete it, or give it another URL and activate it again"
	case http.StatusRequestEntityTooLarge:
		return "the payload is larger than it takes; raise its limit (a proxy before it has one too), or exclude fields from the webhook's payload"
	case http.StatusTooManyRequests:
		return "it asks for fewer requests; set a rate limit on the webhook"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "it is overloaded, or a proxy does not reach it; check that the receiver runs, and look in its log and the proxy's"
	}
	if status >= 500 {
		return "it failed itself; look for the cause in its log"
	}
	return "it must answer with a status from 200 to 299; look in its log for why it does not"
}

// redirect says where an answer leads and what to do: its scheme and host only, since a path and a
// query may hold what nobody else is to read.
func redirect(resp *http.Response) string {
	const advice = "redirects are not followed; set the webhook's URL to where the receiver is, or make it answer with a status from 200 to 299"
	to, err := resp.Location()
	if err != nil || !plainHost(to.Host) || to.Scheme != "https" && to.Scheme != "http" {
		return ": " + advice
	}
	if from := resp.Request.URL; to.Scheme == from.Scheme && to.Host == from.Host {
		return ", which leads to another path of the same host: " + advice
	}
	return fmt.Sprintf(", which leads to %s://%s: %s", to.Scheme, to.Host, advice)
}

// plainHost reports whether a host that a receiver wrote can be shown.
func plainHost(host string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
	return host != "" && len(host) <= maxShown && strings.Trim(host, allowed) == ""
}
