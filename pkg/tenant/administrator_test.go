package tenant_test

import (
	"net/mail"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

func kinds() []string { return []string{"warning", "disabled"} }

func faults(a tenant.Administrator) string {
	var names []string
	for _, f := range a.Check(kinds()) {
		names = append(names, f.Name)
	}
	return strings.Join(names, " ")
}

func TestCheckAdministrator(t *testing.T) {
	const local = "admin@"
	longest := local + strings.Repeat("a", tenant.MaxEmailLength-len(local)-4) + ".com"
	email := func(text string) func(*tenant.Administrator) {
		return func(a *tenant.Administrator) { a.Email = text }
	}
	name := func(text string) func(*tenant.Administrator) { return func(a *tenant.Administrator) { a.Name = text } }
	language := func(tag string) func(*tenant.Administrator) {
		return func(a *tenant.Administrator) { a.Language = tag }
	}
	notices := func(kinds ...string) func(*tenant.Administrator) {
		return func(a *tenant.Administrator) { a.Notices = kinds }
	}
	for title, tt := range map[string]struct {
		change func(*tenant.Administrator)
		want   string // the fields at fault
	}{
		"only what is required":        {func(*tenant.Administrator) {}, ""},
		"no address":                   {email(""), "email"},
		"an address without a domain":  {email("admin"), "email"},
		"a domain without an address":  {email("@example.com"), "email"},
		"an address with a name":       {email("Admin <admin@example.com>"), "email"},
		"an address in brackets":       {email("<admin@example.com>"), "email"},
		"an address with a comment":    {email("admin@example.com (on call)"), "email"},
		"an address between spaces":    {email(" admin@example.com "), "email"},
		"two addresses":                {email("admin@example.com, ops@example.com"), "email"},
		"a group":                      {email("all: admin@example.com;"), "email"},
		"a line behind the address":    {email("admin@example.com\r\nBcc: ops@example.com"), "email"},
		"a control character of UTF-8": {email("ad\u0085min@example.com"), "email"},
		"what is no text":              {email("adm\xffin@example.com"), "email"},
		"a plus and capitals":          {email("Admin+Ops@Example.com"), ""},
		"letters beyond ASCII":         {email("päivystys@example.com"), ""},
		"a host of one label":          {email("admin@localhost"), ""},
		"the longest address":          {email(longest), ""},
		"a longer one":                 {email("a" + longest), "email"},
		"the longest name":             {name(strings.Repeat("ä", 150)), ""},
		"a longer name":                {name(strings.Repeat("ä", 151)), "name"},
		"a name of two lines":          {name("Admin\nBcc: ops@example.com"), "name"},
		"a name that is no text":       {name("\xff"), "name"},
		"no language":                  {language(""), "language"},
		"a region":                     {language("pt-BR"), ""},
		"a script, region and variant": {language("de-Latn-DE-1996"), ""},
		"an extension":                 {language("en-u-ca-gregory"), ""},
		"an extension of nothing":      {language("en-u"), "language"},
		"the name of a language":       {language("english"), "language"},
		"an underscore":                {language("pt_BR"), "language"},
		"a tag of 35 characters":       {language("en-" + strings.Repeat("abcdefg-", 3) + "abcdefgh"), ""},
		"a tag of 36 characters":       {language("sgn-" + strings.Repeat("abcdefg-", 3) + "abcdefgh"), "language"},
		"every notice":                 {notices(kinds()...), ""},
		"a notice that there is not":   {notices("warning", "party"), "notices"},
		"a notice twice":               {notices("warning", "disabled", "warning"), "notices"},
		"all of it": {func(a *tenant.Administrator) {
			*a = tenant.Administrator{Email: "x", Name: "\x00", Language: "-", Notices: []string{""}}
		}, "email name language notices"},
	} {
		t.Run(title, func(t *testing.T) {
			a := tenant.Administrator{Email: "admin@example.com", Language: tenant.DefaultLanguage}
			tt.change(&a)
			if diff := cmp.Diff(tt.want, faults(a)); diff != "" {
				t.Errorf("fields at fault (-want +got): %s", diff)
			}
			for _, f := range a.Check(kinds()) {
				if strings.Contains(f.Message, "Bcc") {
					t.Errorf("%s repeats what was sent: %s", f.Name, f.Message)
				}
			}
		})
	}
}

// What passes can be written into the header of a mail as it is, whatever was sent.
func TestAddressesThatPassAreOneAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.String(),
			rapid.StringMatching(`[a-zé"<(]{1,4}[\x00-\x20]?@[a-z.\[\]]{1,8}[\r\n,;>)]?`),
		).Draw(t, "text")
		if faults(tenant.Administrator{Email: text, Language: "en"}) != "" {
			return
		}
		list, err := mail.ParseAddressList(text)
		if err != nil || len(list) != 1 || list[0].Address != text || strings.ContainsFunc(text, unicode.IsControl) {
			t.Fatalf("%q passed: %v, %v", text, list, err)
		}
	})
}
