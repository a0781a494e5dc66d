package post

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const forms = "Sun, 22 Nov 2026 12:01:30 GMT|Sunday, 22-Nov-26 12:01:30 GMT|Sun Nov 22 12:01:30 2026"
	for value := range strings.SplitSeq(forms, "|") {
		if got := retryAfter(value, now); got != 90*time.Second {
			t.Errorf("%q: %s", value, got)
		}
		if got := retryAfter(value, now.Add(90*time.Second)); got != 0 {
			t.Errorf("%q when it is over: %s", value, got)
		}
		if got := retryAfter(value, now.Add(-2*time.Hour)); got != time.Hour {
			t.Errorf("%q two hours ahead: %s, want the longest", value, got)
		}
	}
	for value, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, "3600": time.Hour, "3601": time.Hour, "0000000000000000000000000000000000007": 7 * time.Second,
		strings.Repeat("9", 1000): time.Hour, "9223372036854775807": time.Hour, "9223372036854775808": time.Hour,
		"-1": 0, "+1": 0, "1.5": 0, "1e3": 0, "0x10": 0, "1 2": 0, "30, 60": 0, "１": 0, "\x00": 0, "soon": 0, "": 0, " ": 0, "\t5 ": 5 * time.Second,
		"Fri, 31 Dec 9999 23:59:59 GMT": time.Hour, "Sat, 01 Jan 0000 00:00:00 GMT": 0, "Thu, 01 Jan 1970 00:00:00 GMT": 0,
		"Sun, 22 Nov 2026 12:01:30 CET": 0, "Sun, 32 Nov 2026 12:01:30 GMT": 0, "22 Nov 2026": 0, "2026-11-22T12:01:30Z": 0,
		"Sunday, 06-Nov-94 08:49:37 GMT": 0, // of 1994
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// Whatever a receiver sends, a wait is from none to the longest, and of seconds or until the date that was sent.
func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, seed := range []string{
		"30", "-5", "3601", strings.Repeat("9", 40), "Sun, 22 Nov 2026 12:01:30 GMT", "Sunday, 22-Nov-26 12:01:30 GMT", "Sun Nov 22 12:01:30 2026",
		"Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "soon", "", "１２",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := retryAfter(value, now)
		if got < 0 || got > maxRetryAfter {
			t.Fatalf("%q: %s", value, got)
		}
		trimmed := strings.TrimSpace(value)
		seconds, err := strconv.ParseUint(trimmed, 10, 32)
		at, dateErr := http.ParseTime(trimmed)
		switch {
		case err == nil:
			if want := min(time.Duration(seconds)*time.Second, maxRetryAfter); got != want { //nolint:gosec // 32 bits
				t.Fatalf("%q: %s, want %s", value, got, want)
			}
		case dateErr == nil && at.After(now) && got == 0, got > 0 && dateErr != nil && strings.Trim(trimmed, "0123456789") != "":
			t.Fatalf("%q: %s", value, got)
		}
	})
}
