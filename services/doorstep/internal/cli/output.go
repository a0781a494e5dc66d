package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// output is how a client command prints its answer.
type output struct {
	Format string `name:"output" short:"o" enum:"table,json" default:"table" help:"How to print the answer: table or json."`
}

// json prints v indented, if JSON is asked for, and reports whether it did.
func (o output) json(w io.Writer, v any) (bool, error) {
	if o.Format != "json" {
		return false, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return true, fmt.Errorf("print the answer: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return true, err
}

// table prints rows under a header, in columns.
func table(w io.Writer, header []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(header, "\t"))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// list prints names with their values, one a line; empty values are left out.
func list(w io.Writer, pairs ...[2]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range pairs {
		if p[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", p[0], printable(p[1]))
		}
	}
	return t.Flush()
}

// printable keeps text from elsewhere from moving the cursor or breaking the columns.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
}

// when prints a time to the second in local time; nil: nothing.
func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}
