package console

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

// A message is told by the page that follows the request which left it, once. The browser keeps it meanwhile, as a
// word and perhaps a job's id, so that whoever writes into the cookie can say nothing of their own.
const (
	messageCookie = "doorstep_message"
	messageLife   = time.Minute
)

func (p *web) leaveMessage(v *visit, message string) {
	http.SetCookie(v.w, p.cookie(v, messageCookie, webRoot, message, messageLife))
}

// takeMessage is what the request before left to be told; empty: nothing.
func (p *web) takeMessage(v *visit) string {
	cookie, err := v.r.Cookie(messageCookie)
	if err != nil {
		return ""
	}
	http.SetCookie(v.w, p.cookie(v, messageCookie, webRoot, "", -1))
	word, id, ofJob := strings.Cut(cookie.Value, ".")
	if ofJob && v.session.token != "" && checkID(id) == nil {
		if store, err := p.sql(); err == nil {
			if j, err := store.Job(v.ctx, v.session.Tenant, id); err == nil {
				return jobMessage(j)
			}
		}
	}
	return messageText(word)
}

// messageText is what a word says; empty: it is none of ours.
func messageText(word string) string {
	switch word {
	case "signed-out":
		return "You are signed out."
	case "session-ended":
		return "Your session has ended. Please sign in again."
	case "activated":
		return "The webhook is active. New events are sent to it."
	case "deactivated":
		return "The webhook is inactive. Nothing new is sent to it."
	case "paused":
		return "The webhook is paused. What comes for it now is kept."
	case "resumed":
		return "The webhook is resumed. What was kept by the pause is sent now."
	case "resumed-only":
		return "The webhook is resumed. What the pause kept stays suspended: the webhook still cannot be sent to."
	case string(sqlstore.JobRelease):
		return "The deliveries are released."
	case string(sqlstore.JobDiscard):
		return "The deliveries are discarded."
	case string(sqlstore.JobRecover):
		return "The deliveries are sent again."
	}
	return ""
}

// jobMessage says how far a job has come.
func jobMessage(j sqlstore.Job) string {
	done := map[sqlstore.JobKind]string{sqlstore.JobRelease: "released", sqlstore.JobDiscard: "discarded", sqlstore.JobRecover: "sent again"}[j.Kind]
	var said string
	switch j.Status {
	case sqlstore.JobDone:
		said = fmt.Sprintf("%s %s.", deliveriesWord(j.Changed), done)
	case sqlstore.JobFailed:
		said = fmt.Sprintf("%s %s, then it failed: %s.", deliveriesWord(j.Changed), done, j.Error)
	case sqlstore.JobCancelled:
		said = fmt.Sprintf("%s %s, then the job was cancelled.", deliveriesWord(j.Changed), done)
	case sqlstore.JobPaused:
		said = fmt.Sprintf("%s %s; the job is paused.", deliveriesWord(j.Changed), done)
	default:
		said = fmt.Sprintf("The deliveries are being %s. Reload the page to see how many are left.", done)
		if j.Changed > 0 {
			said = fmt.Sprintf("The deliveries are being %s, %d so far. Reload the page to see how many are left.", done, j.Changed)
		}
		if j.Error != "" {
			said += " This " + j.Error + "."
		}
	}
	if n := j.Skipped.Sum(); n > 0 {
		said += fmt.Sprintf(" Of %s the payload is gone.", deliveriesWord(n))
	}
	return said
}

func deliveriesWord(n int64) string {
	if n == 1 {
		return "1 delivery"
	}
	return fmt.Sprintf("%d deliveries", n)
}
