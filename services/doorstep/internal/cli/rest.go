package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/doorstep-dev/doorstep/services/doorstep/internal/client"
)

// rest is what every command has that talks to the REST API.
type rest struct {
	API    client.Config `embed:"" group:"connection"`
	Output output        `embed:""`
}

func (r rest) client() (*client.Client, error) {
	c, err := client.New(r.API)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// pageSize is the most that the API gives at once.
const pageSize = 500

// some reads up to most of a list, and reports whether there are more.
func some[T any](ctx context.Context, r rest, path string, query url.Values, most int) (items []T, more bool, err error) {
	cl, err := r.client()
	if err != nil {
		return nil, false, err
	}
	if query == nil {
		query = url.Values{}
	}
	for items = []T{}; ; {
		query.Set("limit", strconv.Itoa(min(pageSize, most-len(items))))
		var page []T
		meta, err := cl.Do(ctx, http.MethodGet, path, query, nil, &page)
		if err != nil {
			return nil, false, err
		}
		items = append(items, page...)
		if meta.NextCursor == "" || len(items) >= most {
			return items, meta.NextCursor != "", nil
		}
		query.Set("cursor", meta.NextCursor)
	}
}

// show makes a call that answers with one thing, and prints that.
func show[T any](ctx context.Context, r rest, streams IO, method, path string, body any, write func(io.Writer, T) error) error {
	cl, err := r.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if _, err := cl.Do(ctx, method, path, nil, body, &raw); err != nil {
		return err
	}
	if done, err := r.Output.json(streams.Out, raw); done {
		return err
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return write(streams.Out, v)
}

// remove deletes one thing and says so.
func remove(ctx context.Context, r rest, streams IO, path, id string) error {
	cl, err := r.client()
	if err != nil {
		return err
	}
	if _, err := cl.Do(ctx, http.MethodDelete, path, nil, nil, nil); err != nil {
		return err
	}
	if done, err := r.Output.json(streams.Out, map[string]string{"deleted": id}); done {
		return err
	}
	_, err = fmt.Fprintln(streams.Out, "deleted", id)
	return err
}
