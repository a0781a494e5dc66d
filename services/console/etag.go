package console

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// # Entity tags (RFC 9110, 8.8 and 13)
//
// A tag is "VERSION.DIGEST". The version counts the changes of what was registered; the digest is of everything
// that a GET shows the caller, so it also changes with what is not registered: a webhook's failures, its tenant's defaults,
// what the history counts.
//
//   - If-None-Match asks "is what I see still all there is to see?", and compares the whole tag, weakly: 304 if it is.
//   - If-Match asks "do I overwrite somebody's change?", and compares the version alone: a webhook in use fails and
//     succeeds all the time, and a tag that each attempt voids would keep nobody from losing an update. A tag marked weak
//     (W/) never matches, as the RFC has it. The version is compared again by the statement that makes the change.
//
// meta.request_id, which names the request and not the thing, is not part of it.

// tagged is a reply with the ETag of what it shows.
type tagged[T any] struct {
	ETag string `header:"ETag" doc:"For If-Match, so that no change of somebody else is overwritten, and If-None-Match"`
	Body Reply[T]
}

func (t *tagged[T]) tag() string { return t.ETag }

// replyTagged is a reply of what is at that version.
func replyTagged[T any](ctx context.Context, version uint64, data T) *tagged[T] {
	return &tagged[T]{ETag: tagOf(version, data), Body: reply(ctx, data).Body}
}

// tagOf is the tag of what is at that version and shown so by GET.
func tagOf(version uint64, shown any) string {
	text, err := json.Marshal(shown)
	if err != nil {
		text = nil // it is not shown either
	}
	sum := sha256.Sum256(text)
	return `"` + strconv.FormatUint(version, 10) + "." + hex.EncodeToString(sum[:8]) + `"`
}

// demand is what a request's If-Match demands. The zero demand is none.
type demand struct {
	given    bool
	versions []string // of the tags; nil: "*", any
}

// demanded reads If-Match.
func demanded(values []string) (demand, error) {
	if len(values) == 0 {
		return demand{}, nil
	}
	tags, all, err := parseTags("If-Match", values)
	if err != nil || all {
		return demand{given: all}, err
	}
	d := demand{given: true, versions: []string{}}
	for _, t := range tags {
		if !t.weak {
			version, _, _ := strings.Cut(t.text, ".")
			d.versions = append(d.versions, version)
		}
	}
	return d, nil
}

// unmet is the problem of a request whose If-Match does not hold for what is at that version, which it is about.
// Whatever reads a thing to change it calls it with what it has read.
func unmet(ctx context.Context, version uint64) error {
	d, _ := ctx.Value(demandKey).(demand)
	if !d.given || d.versions == nil || slices.Contains(d.versions, strconv.FormatUint(version, 10)) {
		return nil
	}
	return newProblem(http.StatusPreconditionFailed, "it was changed after the version that If-Match names: "+
		"GET it again, make your change on what it is now, and send the ETag of that answer. Nothing was changed")
}

// withoutDemand is ctx for what follows a change: what the request demanded held before it.
func withoutDemand(ctx context.Context) context.Context {
	return context.WithValue(ctx, demandKey, demand{})
}

// pinned is the version that a removal is bound to: 0, any, unless the request demands one.
func pinned(ctx context.Context, version uint64) uint64 {
	if d, _ := ctx.Value(demandKey).(demand); d.given && d.versions != nil {
		return version
	}
	return 0
}

// remove reads the version of a thing, which errs as unmet does, and removes it, if the request demands it at that
// version only.
func remove(ctx context.Context, read func() (version uint64, err error), remove func(version uint64) error) error {
	_, err := retried(func() (struct{}, error) {
		version, err := read()
		if err == nil {
			err = remove(pinned(ctx, version))
		}
		return struct{}{}, err
	})
	return err
}

// describeTags adds to the description of a route's operation what it takes.
func (r route) describeTags(op *huma.Operation) {
	if !r.tags {
		return
	}
	name, says := "If-Match", "ETags, of which one must be of the version that there is; * is any. Else 412, and nothing is changed."
	if r.method == http.MethodGet {
		name, says = "If-None-Match", "ETags, of which one is of what the answer would show: then it is 304, without a body."
		op.Responses["304"] = &huma.Response{Description: http.StatusText(http.StatusNotModified)}
	}
	op.Parameters = append(op.Parameters, &huma.Param{
		Name: name, In: "header", Description: says,
		Schema: &huma.Schema{Type: huma.TypeString, Pattern: `^([*]|(W/)?"[^"]*"(, ?(W/)?"[^"]*"){0,99})$`},
	})
}

// withTags is ctx with what a request's headers demand of the tags of what it is about.
func (r route) withTags(ctx context.Context, header http.Header) (context.Context, error) {
	if !r.tags {
		return ctx, nil
	}
	d, err := demanded(header.Values("If-Match"))
	ctx = context.WithValue(ctx, demandKey, d)
	return context.WithValue(ctx, noneMatchKey, header.Values("If-None-Match")), err
}

// notModified is the answer to a GET whose If-None-Match names the tag of what it would show, nil if it does not.
func notModified(values []string, tag string) error {
	if len(values) == 0 || tag == "" {
		return nil
	}
	tags, all, err := parseTags("If-None-Match", values)
	if err != nil {
		return err
	}
	if !all && !slices.ContainsFunc(tags, func(t entityTag) bool { return `"`+t.text+`"` == tag }) {
		return nil
	}
	p := newProblem(http.StatusNotModified, "")
	p.header.Set("ETag", tag)
	return p
}

// entityTag is one of a list.
type entityTag struct {
	text string // between the quotes
	weak bool
}

// maxTags are in one header.
const maxTags = 100

// parseTags reads a list of tags, or "*". It errs with an invalid.Fields of that name.
func parseTags(name string, values []string) (tags []entityTag, all bool, err error) {
	rest := strings.Join(values, ",")
	if strings.TrimSpace(rest) == "*" {
		return nil, true, nil
	}
	for {
		if rest = strings.TrimLeft(rest, ", \t"); rest == "" {
			break
		}
		var t entityTag
		rest, t.weak = strings.CutPrefix(rest, "W/")
		text, quoted := strings.CutPrefix(rest, `"`)
		end := strings.IndexByte(text, '"')
		if !quoted || end < 0 || len(tags) == maxTags {
			tags = nil
			break
		}
		t.text, rest = text[:end], text[end+1:]
		if tags = append(tags, t); rest != "" && !strings.ContainsRune(", \t", rune(rest[0])) {
			tags = nil
			break
		}
	}
	if len(tags) == 0 {
		return nil, false, invalid.Fields{{Name: name, Message: fmt.Sprintf(`must be * or ETags in quotes as they were answered, at most %d, e.g. "3.9f86d081884c7d65"`, maxTags)}}
	}
	return tags, false, nil
}
