// Package mail is the mails that tell administrators of failing webhooks, and the way to a mail server.
//
// Compose turns a notice into a mail, by itself: the same facts always make the same mail. The words of a
// language are one file of templates; both parts of a mail, plain text and HTML, are made of the same words.
// A Sender hands a mail to a mail server, on a connection of its own, and says of a refusal whether it is
// for good (Permanent).
//
// What a mail shows of a webhook's URL is its host and path: user, password and query are left out.
// Errors name the server, and never a password or the address of an administrator.
package mail

import (
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// keptDays is for how many days suspended deliveries are kept: kafka.SuspendedRetention, which this package does
// not know.
const keptDays = 30

// Facts is what a mail tells, and to whom.
type Facts struct {
	Notice        failure.Notice
	Webhook       webhook.Webhook // the zero Webhook: it was deleted meanwhile
	Tenant        tenant.Tenant   // without a name, its id stands for it
	Administrator tenant.Administrator
	Suspended     int    // deliveries suspended since the webhook was disabled; below 0: not known
	SuspendedMore bool   // there are at least that many
	DisableAfter  int    // length of a fail streak at which the webhook is disabled, in attempts, for a warning; 0: never
	ConsoleURL    string // e.g. https://hooks.example.com; the webhook's page is below it. Empty: mails have no link
}

// Message is a mail to one administrator. All but Text and HTML are single lines.
type Message struct {
	ID      string // Message-ID before the @, behind which stands the domain of Config.From; the same for the same facts
	To      string // an address and nothing else
	ToName  string // may be empty
	Subject string
	Text    string // lines end with "\n"; at most 72 columns but for words that are longer
	HTML    string
}
