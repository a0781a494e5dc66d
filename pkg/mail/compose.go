package mail

import (
	"embed"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
	"text/template"
	"time"
	"unicode"

	"github.com/doorstep-dev/doorstep/pkg/failure"
)

// fallback is the language of whoever asks for one that there are no words in.
const fallback = "en"

// Bounds of what others have written, in characters.
const (
	maxInSubject = 80
	maxLine      = 600
)

//go:embed templates
var files embed.FS

// words holds the mails by language, layout the HTML around them.
var (
	words  = parseWords()
	layout = htmltemplate.Must(htmltemplate.ParseFS(files, "templates/mail.html"))
)

func parseWords() map[string]*template.Template {
	names, err := fs.Glob(files, "templates/*.txt")
	if err != nil {
		panic(err) // the pattern is wrong
	}
	all := map[string]*template.Template{}
	for _, name := range names {
		language := strings.TrimSuffix(path.Base(name), ".txt")
		all[language] = template.Must(template.New(path.Base(name)).Funcs(template.FuncMap{"date": date}).ParseFS(files, name))
	}
	return all
}

// date is a time to be read by people: to the minute, in UTC, and it says so.
func date(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// view is what the words are put together with. Its texts are single lines.
type view struct {
	Name          string // the administrator's; may be empty
	Tenant        string
	Webhook       string // its name, else its id
	ID            string // its id; empty where Webhook says it
	Title         string // the webhook, short enough for a subject
	Receiver      string // host and path, tokens left out; empty: not known
	Deleted       bool
	RaisedAt      time.Time
	Since         time.Time // start of the streak
	Streak        int
	LastError     string
	Suspended     int
	SuspendedMore bool
	DisableAfter  int
	Expiring      int
	ExpiresAt     time.Time
	KeptDays      int
}

// Compose writes the mail that tells an administrator of a notice, in the administrator's language, or in
// English where there are no words in it. It errs if there is no mail for the notice's kind.
func Compose(f Facts) (Message, error) {
	language, set := wordsIn(f.Administrator.Language)
	if !slices.Contains(failure.NoticeKinds(), f.Notice.Kind) {
		return Message{}, fmt.Errorf("mail for notice %s: there is none for kind %q", f.Notice.ID, f.Notice.Kind)
	}
	var text strings.Builder
	if err := set.ExecuteTemplate(&text, string(f.Notice.Kind), viewOf(f)); err != nil {
		return Message{}, fmt.Errorf("mail for notice %s: %w", f.Notice.ID, err)
	}
	l := lay(text.String())
	l.Language, l.Link = language, link(f)
	html, err := l.html()
	if err != nil {
		return Message{}, fmt.Errorf("mail for notice %s: %w", f.Notice.ID, err)
	}
	return Message{
		ID: f.Notice.ID + "." + f.Administrator.ID, To: f.Administrator.Email, ToName: line(f.Administrator.Name, maxLine),
		Subject: l.Subject, Text: l.text(), HTML: html,
	}, nil
}

// wordsIn gives the words of a language, told by the first part of its tag, and that part.
func wordsIn(tag string) (language string, set *template.Template) {
	language, _, _ = strings.Cut(strings.ToLower(tag), "-")
	if set, ok := words[language]; ok {
		return language, set
	}
	return fallback, words[fallback]
}

func viewOf(f Facts) view {
	n := f.Notice
	v := view{
		Name: line(f.Administrator.Name, maxLine), Tenant: tenantOf(f),
		Webhook: line(f.Webhook.Name, maxLine), Receiver: line(receiver(f.Webhook.URL), maxLine), Deleted: f.Webhook.ID == "",
		RaisedAt: n.RaisedAt, Since: n.FailStreakStartedAt, Streak: n.FailStreak, LastError: lastError(n),
		Suspended: f.Suspended, SuspendedMore: f.SuspendedMore, DisableAfter: f.DisableAfter,
		Expiring: n.Expiring, ExpiresAt: n.ExpiresAt, KeptDays: keptDays,
	}
	v.Title, v.ID = `"`+line(v.Webhook, maxInSubject)+`"`, line(n.WebhookID, maxLine)
	if v.Webhook == "" {
		v.Webhook, v.Title, v.ID = v.ID, v.ID, ""
		if v.Receiver != "" {
			v.Title = "to " + line(v.Receiver, maxInSubject)
		}
	}
	return v
}

// tenantOf is the tenant's name, with its id where that says more.
func tenantOf(f Facts) string {
	name := line(f.Tenant.Name, maxLine)
	if name == "" || name == f.Notice.Tenant {
		return line(f.Notice.Tenant, maxLine)
	}
	return name + " (" + line(f.Notice.Tenant, maxLine) + ")"
}

// receiver is what may be shown of a webhook's URL: host and path, without what may be a token. Empty if it cannot
// be read.
func receiver(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	segments := strings.Split(strings.TrimSuffix(u.EscapedPath(), "/"), "/")
	for i, s := range segments {
		if tokenLike(s) {
			segments[i] = "***"
		}
	}
	return u.Host + strings.Join(segments, "/")
}

// tokenLike reports whether part of a path may be what only the receiver and its owner are to know: mails go
// through many hands.
func tokenLike(segment string) bool {
	const shortest = 16
	return len(segment) >= shortest && strings.ContainsAny(segment, "0123456789") && strings.ContainsFunc(segment, unicode.IsLetter)
}

func lastError(n failure.Notice) string {
	if text := line(n.LastError, maxLine); text != "" || n.LastStatusCode == 0 {
		return text
	}
	return fmt.Sprintf("the receiver answered %d", n.LastStatusCode)
}

// link is the address of the webhook's page; empty if there is none.
func link(f Facts) string {
	if f.ConsoleURL == "" || f.Webhook.ID == "" {
		return ""
	}
	return strings.TrimSuffix(f.ConsoleURL, "/") + "/console/webhooks/" + url.PathEscape(f.Webhook.ID)
}

// line is text as one line of at most limit characters that reads as it is written: white space and what
// moves a cursor become single spaces, and what turns the direction of writing is left out.
func line(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, string(unicode.ReplacementChar)))
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > limit {
		return strings.TrimSpace(string(runes[:limit-1])) + "…"
	}
	return text
}
