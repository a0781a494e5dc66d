package sqldb

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

// errURL does not say what is wrong: every parser's words repeat a part of what it reads, and where a password is
// written as it should not be, that part is the password's.
var errURL = errors.New("postgres-url: cannot be read: want postgres://user:password@host[:port]/database, in which a password's " +
	"characters other than letters and digits are written as in URLs (@ is %40, / is %2F)")

// otherList is a list of keywords as other databases have it. PostgreSQL's driver would take all behind the first
// comma for hosts.
var otherList = regexp.MustCompile(`[;,]\s*[A-Za-z_ ]+=`)

// checkURL errs if text is a URL that nobody can mean. What is no URL, a list of keywords, is left to PostgreSQL's
// driver, which hides the password.
func checkURL(text string) error {
	scheme, rest, isURL := strings.Cut(text, "://")
	switch {
	case !isURL && otherList.MatchString(text):
		return errURL
	case !isURL:
		return nil
	}
	if _, err := url.Parse(text); err != nil || scheme != "postgres" && scheme != "postgresql" {
		return errURL
	}
	// An @ or a / of a password would move the rest of it into the host's name, or the database's.
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	if n := strings.Count(rest, "@"); n > 1 || n > strings.Count(authority, "@") {
		return errURL
	}
	return nil
}
