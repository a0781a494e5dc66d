package tenant

import (
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// Limits of an administrator.
const (
	MaxEmailLength    = 254 // bytes; a path of SMTP has 256, with its brackets (RFC 5321)
	MaxLanguageLength = 35  // characters
	DefaultLanguage   = "en"
)

// Check says everything that is wrong with a. Fields are named as in the API; addresses are not repeated.
// kinds are the notices that there are.
func (a Administrator) Check(kinds []string) invalid.Fields {
	var f invalid.Fields
	switch {
	case a.Email == "":
		f.Add("email", "is required")
	case len(a.Email) > MaxEmailLength:
		f.Add("email", "must have at most %d bytes", MaxEmailLength)
	case !plainAddress(a.Email):
		f.Add("email", "must be one address and nothing else, e.g. admin@example.com")
	}
	if utf8.RuneCountInString(a.Name) > MaxNameLength || !oneLine(a.Name) {
		f.Add("name", "must have at most %d characters, in UTF-8 and without control characters", MaxNameLength)
	}
	if !validLanguage(a.Language) {
		f.Add("language", "must be a language tag (BCP 47) of at most %d characters, e.g. en or pt-BR", MaxLanguageLength)
	}
	if slices.ContainsFunc(a.Notices, func(kind string) bool { return !slices.Contains(kinds, kind) }) {
		f.Add("notices", "must be of %s", strings.Join(kinds, ", "))
	} else if repeats(a.Notices) {
		f.Add("notices", "must name each kind once")
	}
	return f
}

func repeats(names []string) bool {
	sorted := slices.Sorted(slices.Values(names))
	return len(slices.Compact(sorted)) < len(names)
}

// plainAddress reports whether text is an address as it stands on an envelope, without a name or a comment.
func plainAddress(text string) bool {
	a, err := mail.ParseAddress(text)
	return err == nil && a.Name == "" && a.Address == text && oneLine(text)
}

// oneLine reports whether text can stand in a header of a mail: it is UTF-8, and nothing in it moves a cursor.
func oneLine(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// language is what a tag looks like (RFC 5646): a language of two or three letters, then scripts, regions,
// variants and extensions. An extension is a letter and what follows it, so no tag ends with a single one.
var language = regexp.MustCompile(`^[A-Za-z]{2,3}((-[A-Za-z0-9])*-[A-Za-z0-9]{2,8})*$`)

func validLanguage(tag string) bool {
	return len(tag) <= MaxLanguageLength && language.MatchString(tag)
}
