package cli

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type administratorsCmd struct {
	List   administratorsListCmd   `cmd:"" help:"List the administrators."`
	Get    administratorsGetCmd    `cmd:"" help:"Show an administrator."`
	Create administratorsCreateCmd `cmd:"" help:"Add an administrator, who is mailed when webhooks fail."`
	Update administratorsUpdateCmd `cmd:"" help:"Change an administrator; what is not named stays."`
	Delete administratorsDeleteCmd `cmd:"" help:"Remove an administrator, who is mailed no more."`
}

// administrator is what tables and lists show of one. JSON output shows all that the API gives.
type administrator struct {
	ID        string     `json:"id"`
	Email     string     `json:"email"`
	Name      string     `json:"name"`
	Language  string     `json:"language"`
	Notices   []string   `json:"notices"`
	CreatedAt *time.Time `json:"created_at"`
	UpdatedAt *time.Time `json:"updated_at"`
}

// told is what an administrator is told of.
func (a administrator) told() string {
	if len(a.Notices) == 0 {
		return allNotices
	}
	return strings.Join(a.Notices, ",")
}

// allNotices stands for no choice among them.
const allNotices = "all"

type administratorsListCmd struct {
	listed `embed:""`
}

// Run prints a table of the administrators.
func (c *administratorsListCmd) Run(ctx context.Context, streams IO) error {
	return printList(ctx, c.listed, streams, "administrators", nil, math.MaxInt,
		column[administrator]{"ID", func(a administrator) string { return a.ID }},
		column[administrator]{"E-MAIL", func(a administrator) string { return a.Email }},
		column[administrator]{"NAME", func(a administrator) string { return a.Name }},
		column[administrator]{"LANGUAGE", func(a administrator) string { return a.Language }},
		column[administrator]{"NOTICES", administrator.told},
		column[administrator]{"CREATED", func(a administrator) string { return when(a.CreatedAt) }})
}

type administratorsGetCmd struct {
	rest `embed:""`
	ID   string `arg:"" help:"The administrator's id."`
}

// Run prints an administrator.
func (c *administratorsGetCmd) Run(ctx context.Context, streams IO) error {
	return show(ctx, c.rest, streams, http.MethodGet, administratorPath(c.ID), nil, printAdministrator)
}

func administratorPath(id string) string { return "administrators/" + url.PathEscape(id) }

func printAdministrator(w io.Writer, a administrator) error {
	return list(w, [2]string{"id", a.ID}, [2]string{"e-mail", a.Email}, [2]string{"name", a.Name},
		[2]string{"language", a.Language}, [2]string{"notices", a.told()},
		[2]string{"created", when(a.CreatedAt)}, [2]string{"updated", when(a.UpdatedAt)})
}

// administratorFlags are the fields of an administrator that can be set by flag. Nil ones are not sent.
type administratorFlags struct {
	Email    *string  `placeholder:"ADDRESS" help:"Where to mail, e.g. admin@example.com."`
	Name     *string  `help:"A name for people."`
	Language *string  `placeholder:"TAG" help:"Language of the mails, e.g. en or pt-BR. English where there are no texts for it."`
	Notices  []string `placeholder:"KIND" help:"What to be told of, again for more: warning, disabled, gone, expiry; or all."`
}

// body is the JSON object to send.
func (f administratorFlags) body() map[string]any {
	body := map[string]any{}
	put(body, "email", f.Email)
	put(body, "name", f.Name)
	put(body, "language", f.Language)
	switch {
	case len(f.Notices) == 1 && f.Notices[0] == allNotices:
		body["notices"] = []string{}
	case f.Notices != nil:
		body["notices"] = f.Notices
	}
	return body
}

type administratorsCreateCmd struct {
	rest          `embed:""`
	Administrator administratorFlags `embed:""`
}

// Run adds an administrator and prints it.
func (c *administratorsCreateCmd) Run(ctx context.Context, streams IO) error {
	body := c.Administrator.body()
	if body["email"] == nil {
		return usageError{errors.New("--email is required")}
	}
	return show(ctx, c.rest, streams, http.MethodPost, "administrators", body, printAdministrator)
}

type administratorsUpdateCmd struct {
	rest          `embed:""`
	Administrator administratorFlags `embed:""`
	ID            string             `arg:"" help:"The administrator's id."`
}

// Run changes an administrator and prints it.
func (c *administratorsUpdateCmd) Run(ctx context.Context, streams IO) error {
	body := c.Administrator.body()
	if len(body) == 0 {
		return usageError{errors.New("nothing to change; name a field, e.g. --notices all")}
	}
	return show(ctx, c.rest, streams, http.MethodPatch, administratorPath(c.ID), body, printAdministrator)
}

type administratorsDeleteCmd struct {
	rest `embed:""`
	ID   string `arg:"" help:"The administrator's id."`
}

// Run removes an administrator.
func (c *administratorsDeleteCmd) Run(ctx context.Context, streams IO) error {
	return remove(ctx, c.rest, streams, administratorPath(c.ID), c.ID)
}
