package console

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

// Problem is the body of every error (RFC 9457).
type Problem struct {
	Title     string         `json:"title" doc:"What kind of problem it is" example:"Unprocessable Entity"`
	Status    int            `json:"status" doc:"The HTTP status" example:"422"`
	Detail    string         `json:"detail,omitempty" doc:"What went wrong this time"`
	Code      string         `json:"code,omitempty" doc:"Of a conflict or refusal that has several causes: which, e.g. webhook_deleted"`
	RequestID string         `json:"request_id" doc:"Names the request in Doorstep's log"`
	Errors    []FieldProblem `json:"errors,omitempty" doc:"The fields at fault"`

	Results []EventResult `json:"results,omitempty" doc:"Of an array of events: what became of each"`

	header http.Header
}

// FieldProblem is one field at fault.
type FieldProblem struct {
	Field   string `json:"field" doc:"As it was sent" example:"payload.format"`
	Message string `json:"message" doc:"What is wrong with it, with the limit" example:"must be raw, standard, cloudevents, thin or hook"`
}

// Error is the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders are the headers that the answer gets.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType is the media type of problems.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func newProblem(status int, detail string) *Problem {
	p := &Problem{Title: http.StatusText(status), Status: status, Detail: detail, header: http.Header{}}
	switch status {
	case http.StatusUnauthorized:
		p.header.Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		p.header.Set("Retry-After", "1")
	}
	return p
}

func invalidFields(f invalid.Fields) *Problem {
	p := newProblem(http.StatusUnprocessableEntity, "some fields are not valid")
	for _, x := range f {
		p.Errors = append(p.Errors, FieldProblem{Field: x.Name, Message: x.Message})
	}
	return p
}

// problemOf is the answer to an error, which is not nil. What a caller can do nothing about is logged, and told in
// general terms only.
func (s *Service) problemOf(ctx context.Context, err error) *Problem {
	var (
		problem *Problem
		fields  invalid.Fields
	)
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &fields):
		return invalidFields(fields)
	case errors.Is(err, auth.ErrNoKey), errors.Is(err, auth.ErrWrongKey):
		return newProblem(http.StatusUnauthorized, err.Error())
	case errors.Is(err, auth.ErrOtherTenant):
		return newProblem(http.StatusForbidden, err.Error())
	case errors.Is(err, sqlstore.ErrNotFound):
		return newProblem(http.StatusNotFound, "there is nothing of that id")
	case errors.Is(err, sqlstore.ErrTakenOver):
		return stillRunning()
	case errors.Is(err, sqlstore.ErrConflict):
		return newProblem(http.StatusConflict, "it was changed by another request at the same time; read it and try again")
	case errors.Is(err, sqlhistory.ErrCursor):
		return invalidFields(invalid.Fields{{Name: "cursor", Message: "is not a next_cursor of this list, in this order and with these filters"}})
	case errors.Is(err, publish.ErrBusy):
		return newProblem(http.StatusTooManyRequests, err.Error())
	case errors.Is(err, publish.ErrNoRoom):
		return newProblem(http.StatusServiceUnavailable, publish.ErrNoRoom.Error())
	case errors.Is(err, publish.ErrUnavailable):
		return newProblem(http.StatusServiceUnavailable, err.Error())
	case errors.Is(ctx.Err(), context.Canceled): // the caller has gone, nobody reads this
		return newProblem(http.StatusServiceUnavailable, "the request was given up")
	}
	return s.unavailable(ctx, err)
}

// unavailable is the answer to an error that is not the caller's.
func (s *Service) unavailable(ctx context.Context, err error) *Problem {
	why := sqldb.Away(err)
	switch {
	case errors.Is(err, sqldb.ErrUnknown):
		s.seldom.Warn(ctx, s.log, "the database did not say whether a change was made", "request_id", requestID(ctx), "error", err)
		return newProblem(http.StatusServiceUnavailable,
			"the database did not answer when the change was to be made for good; look whether it was made before you try again")
	case why != "":
		s.seldom.Warn(ctx, s.log, "requests cannot be carried out: the database "+why, "request_id", requestID(ctx), "error", err)
		return newProblem(http.StatusServiceUnavailable, "the database "+why+"; try again")
	}
	s.seldom.Error(ctx, s.log, "request failed", "request_id", requestID(ctx), "error", err)
	return newProblem(http.StatusServiceUnavailable, "the request could not be carried out; try again later")
}

// logAway is the answer where the log does not do in time what it was asked, within the request's own time, which is ctx's.
// Where that is over, the log may have been asked too late: a request asks the database first.
func (s *Service) logAway(ctx context.Context, what string, err error) *Problem {
	why := "the log cannot be reached"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		why = "the database and the log did not both answer in time"
	}
	s.seldom.Warn(ctx, s.log, what+": "+why, "request_id", requestID(ctx), "error", err)
	return newProblem(http.StatusServiceUnavailable, why+"; try again")
}

// unknownParameter is what huma says of a query parameter that an operation does not have.
const unknownParameter = "unknown query parameter"

// parameters are those that an operation has in its query; a filter stands for all its operators.
func parameters(op *huma.Operation) string {
	var names []string
	for _, p := range op.Parameters {
		name, operator, _ := strings.Cut(p.Name, "][")
		if operator != "" {
			name += "]"
		}
		if p.In == "query" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// transform gives problems their request id, and turns huma's own errors (parameters, body size) into
// problems of ours. Huma's package variable NewError would do it too, for the whole program.
func transform(ctx huma.Context, _ string, v any) (any, error) {
	switch e := v.(type) {
	case *Problem:
		p := *e
		p.RequestID = requestID(ctx.Context())
		return &p, nil
	case *huma.ErrorModel:
		p := newProblem(e.Status, e.Detail)
		for _, d := range e.Errors {
			// The value is not repeated: it may be a secret.
			if d != nil && d.Location != "" {
				_, field, _ := strings.Cut(d.Location, ".")
				if d.Message == unknownParameter {
					d.Message = "is not a parameter of this; there are " + parameters(ctx.Operation())
				}
				p.Errors = append(p.Errors, FieldProblem{Field: field, Message: d.Message})
			}
		}
		p.RequestID = requestID(ctx.Context())
		return p, nil
	}
	return picked(ctx.Context(), v)
}
