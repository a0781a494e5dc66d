package mail_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/mail"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	hookID  = "11111111-2222-4333-8444-555555555555"
	adminID = "01890a5d-ac96-774b-bcce-b302099a8057"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// facts are those of a notice as the notifier has them.
func facts(kind failure.NoticeKind) mail.Facts {
	n := failure.Notice{Kind: kind, Tenant: "acme", WebhookID: hookID, Generation: 1}
	switch kind {
	case failure.NoticeExpiry:
		n.Expiring, n.ExpiresAt = 12, noon.AddDate(0, 0, 7)
		n.ID = failure.ExpiryID(hookID, failure.ExpiryWeek(n.ExpiresAt))
	default:
		n.FailStreak, n.FailStreakStartedAt, n.RaisedAt = 250, noon.Add(-26*time.Hour), noon
		n.LastStatusCode, n.LastError = 500, "the receiver answered 500 Internal Server Error: it failed itself; look for the cause in its log"
		n.ID = failure.NoticeID(hookID, 1, n.FailStreakStartedAt, kind)
	}
	switch kind {
	case failure.NoticeDisabled:
		n.FailStreak = 500
	case failure.NoticeGone:
		n.FailStreak, n.FailStreakStartedAt = 1, noon
		n.LastStatusCode, n.LastError = 410, "the receiver answered 410 Gone: it wants no more webhooks at this URL, so the webhook is disabled; delete it, or give it another URL and activate it again"
	}
	return mail.Facts{
		Notice: n, DisableAfter: 500, ConsoleURL: "https://hooks.example.com/",
		Webhook: webhook.Webhook{
			ID: hookID, Tenant: "acme", Name: "Orders to the ERP",
			URL: "https://hidden-user:hidden-word@erp.example.com:8443/hooks/orders/?token=hidden-token#hidden-part",
		},
		Tenant:        tenant.Tenant{ID: "acme", Name: "Acme"},
		Administrator: tenant.Administrator{ID: adminID, Tenant: "acme", Email: "admin@example.com", Name: "Ädmin"},
	}
}

func compose(t testing.TB, f mail.Facts) mail.Message {
	t.Helper()
	m, err := mail.Compose(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestGolden(t *testing.T) {
	for name, tt := range map[string]struct {
		kind   failure.NoticeKind
		change func(*mail.Facts)
	}{
		"warning":  {failure.NoticeWarning, func(*mail.Facts) {}},
		"disabled": {failure.NoticeDisabled, func(f *mail.Facts) { f.Suspended = 1 }},
		"gone":     {failure.NoticeGone, func(f *mail.Facts) { f.Suspended, f.SuspendedMore = 1000, true }},
		"expiry":   {failure.NoticeExpiry, func(*mail.Facts) {}},
		"warning-never-disabled": {failure.NoticeWarning, func(f *mail.Facts) {
			f.DisableAfter, f.ConsoleURL, f.Webhook.Name, f.Administrator.Name, f.Tenant.Name = 0, "", "", "", ""
		}},
		"disabled-deleted": {failure.NoticeDisabled, func(f *mail.Facts) { f.Webhook, f.Suspended = webhook.Webhook{}, -1 }},
		"expiry-one":       {failure.NoticeExpiry, func(f *mail.Facts) { f.Notice.Expiring = 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			f := facts(tt.kind)
			tt.change(&f)
			m := compose(t, f)
			got := "To: " + m.ToName + " <" + m.To + ">\nMessage-ID: " + m.ID + "\nSubject: " + m.Subject + "\n\n" + m.Text
			golden(t, name+".txt", got)
			golden(t, name+".html", m.HTML)
			if again := compose(t, f); again != m {
				t.Error("the same facts made another mail")
			}
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got): %s", file, diff)
	}
}

// TestBothParts holds what every mail must have, in both parts.
func TestBothParts(t *testing.T) {
	for _, kind := range failure.NoticeKinds() {
		m := compose(t, facts(kind))
		if !strings.Contains(m.Subject, "Orders to the ERP") {
			t.Errorf("%s: the subject %q does not say which webhook", kind, m.Subject)
		}
		want := []string{"Ädmin", "Acme (acme)", "Orders to the ERP", "erp.example.com:8443/hooks/orders", "https://hooks.example.com/console/webhooks/" + hookID, "30 days", "UTC"}
		if kind != failure.NoticeExpiry {
			want = append(want, "21 November 2026, 10:00 UTC")
		}
		for part, content := range map[string]string{"text": m.Text, "HTML": m.HTML} {
			flat := strings.Join(strings.Fields(content), " ")
			for _, w := range want {
				if w == "21 November 2026, 10:00 UTC" && kind == failure.NoticeGone {
					w = "22 November 2026, 12:00 UTC"
				}
				if !strings.Contains(flat, w) {
					t.Errorf("%s: %s does not say %q", kind, part, w)
				}
			}
			if strings.Contains(content, "hidden") || strings.Contains(content, "<no value>") || strings.Contains(content, "{{") {
				t.Errorf("%s: %s shows what it must not: %s", kind, part, content)
			}
		}
		for row := range strings.Lines(m.Text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(row, "\n")); n > 72 && !strings.HasPrefix(row, "https://") {
				t.Errorf("%s: a line of %d columns: %q", kind, n, row)
			}
			if strings.TrimRight(row, " \n") != strings.TrimSuffix(row, "\n") {
				t.Errorf("%s: a line ends with spaces: %q", kind, row)
			}
		}
	}
}

var loads = regexp.MustCompile(`(?i)<(img|link|script|style|iframe|object|video|form)|\b(src|srcset|background|onload)=|url\(|@import`)

// TestHTMLLoadsNothing also holds that no text colour stands without knowing what is behind it, but for a grey
// that can be read on white and on black.
func TestHTMLLoadsNothing(t *testing.T) {
	colour := regexp.MustCompile(`[ "]color: (#[0-9a-f]{6})`)
	for _, kind := range failure.NoticeKinds() {
		html := compose(t, facts(kind)).HTML
		if found := loads.FindString(html); found != "" {
			t.Errorf("%s: %q", kind, found)
		}
		if n := strings.Count(html, "<a "); n != 1 {
			t.Errorf("%s: %d links, want the one to the webhook", kind, n)
		}
		for _, found := range colour.FindAllStringSubmatch(html, -1) {
			if found[1] != "#767676" && (found[1] != "#ffffff" || !strings.Contains(html, "background-color: #1a5fb4; color: #ffffff")) {
				t.Errorf("%s: %s", kind, found[0])
			}
		}
	}
}

func TestLanguage(t *testing.T) {
	english := compose(t, facts(failure.NoticeWarning))
	for _, language := range []string{"", "en", "en-GB", "EN", "fi", "x/../en", "mail"} {
		f := facts(failure.NoticeWarning)
		f.Administrator.Language = language
		if m := compose(t, f); m != english {
			t.Errorf("%q: another mail", language)
		}
	}
}

func TestNoMailForKind(t *testing.T) {
	for _, kind := range []failure.NoticeKind{"", failure.NoticeMailed, "who", "foot.", "en.txt "} {
		if _, err := mail.Compose(facts(kind)); err == nil {
			t.Errorf("there is a mail for kind %q", kind)
		}
	}
}

// TestOthersWords puts all kinds of text into the fields that others write: it stays where it belongs.
func TestOthersWords(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		kind := rapid.SampledFrom(failure.NoticeKinds()).Draw(r, "kind")
		words := rapid.OneOf(rapid.String(), rapid.StringMatching(`[\r\n\t |#>:<&"{}\x{2028}\x{202e}-]{1,12}(Subject: |Bcc: |<b>)?[a-z. \n-]{0,700}`))
		f := facts(kind)
		before := compose(t, f)
		f.Webhook.Name = "x" + words.Draw(r, "name")
		f.Tenant.Name = "x" + words.Draw(r, "tenant")
		f.Administrator.Name = "x" + words.Draw(r, "administrator")
		f.Notice.LastError = "x" + words.Draw(r, "error")
		m := compose(t, f)
		for _, single := range []string{m.Subject, m.ToName, m.To, m.ID} {
			if strings.ContainsFunc(single, unicode.IsControl) || !utf8.ValidString(single) {
				r.Fatalf("not one line: %q", single)
			}
		}
		if utf8.RuneCountInString(m.Subject) > 130 {
			r.Fatalf("a subject of %d characters", utf8.RuneCountInString(m.Subject))
		}
		count := func(m mail.Message) (n [4]int) {
			for i, tag := range []string{"<h2", "<p", "<li", "<dt"} {
				n[i] = strings.Count(m.HTML, tag)
			}
			return n
		}
		if count(m) != count(before) {
			r.Fatalf("the mail has other parts: %v, not %v\n%s", count(m), count(before), m.HTML)
		}
		if strings.ContainsFunc(m.Text, func(c rune) bool { return c != '\n' && unicode.IsControl(c) }) || !utf8.ValidString(m.Text) || !utf8.ValidString(m.HTML) {
			r.Fatalf("control characters: %q", m.Text)
		}
	})
}

// Mails go through many hands, so what looks like a token in a receiver's path is left out, of the subject too.
func TestTokensInPathsAreLeftOut(t *testing.T) {
	for path, want := range map[string]string{
		"/hooks/orders":                         "/hooks/orders",
		"/hooks/b01ef2a4c9d8e7f6a5b4":           "/hooks/***",
		"/t/0123456789abcdef/in?key=hidden":     "/t/***/in",
		"/hooks/11111111-2222-4333-8444-aaaaaa": "/hooks/***",
		"/hooks/internationalization":           "/hooks/internationalization",
		"/hooks/2026112212000000":               "/hooks/2026112212000000",
	} {
		f := facts(failure.NoticeWarning)
		f.Webhook.Name, f.Webhook.URL = "", "https://erp.example.com"+path
		m := compose(t, f)
		if !strings.Contains(m.Subject, "to erp.example.com"+want+" keeps") || !strings.Contains(m.Text, "erp.example.com"+want+"\n") {
			t.Errorf("%s: subject %q, want %s", path, m.Subject, want)
		}
	}
}
