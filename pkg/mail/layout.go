package mail

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// columns is how wide the plain text is.
const columns = 72

// letter is a mail before it is plain text or HTML.
type letter struct {
	Language string
	Link     string // where every Block.Link leads to; empty: they are left out
	Subject  string
	Blocks   []block
}

// block is one of its fields.
type block struct {
	Heading   string
	Paragraph string
	Facts     []fact
	Steps     []string
	Link      string // the words of it
}

type fact struct{ Name, Value string }

// lay puts the lines of a mail in order; templates/en.txt says what they mean.
func lay(text string) letter {
	var l letter
	var last block // what the next line may belong to
	flush := func() {
		if last.Paragraph != "" || last.Facts != nil || last.Steps != nil {
			l.Blocks = append(l.Blocks, last)
		}
		last = block{}
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		kind, rest, _ := strings.Cut(line, " ")
		switch kind {
		case "Subject:":
			l.Subject = rest
		case "#":
			flush()
			l.Blocks = append(l.Blocks, block{Heading: rest})
		case ">":
			flush()
			l.Blocks = append(l.Blocks, block{Link: rest})
		case "|":
			if last.Facts == nil {
				flush()
			}
			name, value, _ := strings.Cut(rest, "|")
			if value = strings.TrimSpace(value); value != "" {
				last.Facts = append(last.Facts, fact{strings.TrimSpace(name), value})
			}
		case "-":
			if last.Steps == nil {
				flush()
			}
			last.Steps = append(last.Steps, rest)
		case "":
			if last.Facts == nil { // facts come from several templates, with empty lines between
				flush()
			}
		default:
			if last.Facts != nil {
				flush()
			}
			if n := len(last.Steps); n > 0 {
				last.Steps[n-1] += " " + line
			} else {
				last.Paragraph = strings.TrimSpace(last.Paragraph + " " + line)
			}
		}
	}
	flush()
	return l
}

// text is the letter as plain text. Facts stand in two columns, and steps are numbered.
func (l letter) text() string {
	var out []string
	for _, b := range l.Blocks {
		switch {
		case b.Heading != "":
			out = append(out, strings.ToUpper(b.Heading))
		case b.Paragraph != "":
			out = append(out, wrap("", b.Paragraph))
		case b.Facts != nil:
			out = append(out, factsText(b.Facts))
		case b.Steps != nil:
			out = append(out, stepsText(b.Steps))
		case b.Link != "" && l.Link != "":
			out = append(out, b.Link+":\n"+l.Link)
		}
	}
	return strings.Join(out, "\n\n") + "\n"
}

func factsText(facts []fact) string {
	width := 0
	for _, f := range facts {
		width = max(width, utf8.RuneCountInString(f.Name))
	}
	var out []string
	for _, f := range facts {
		name := "  " + f.Name + ":"
		out = append(out, wrap(name+strings.Repeat(" ", width+5-utf8.RuneCountInString(name)), f.Value))
	}
	return strings.Join(out, "\n")
}

func stepsText(steps []string) string {
	var out []string
	for i, step := range steps {
		out = append(out, wrap(fmt.Sprintf("%3d. ", i+1), step))
	}
	return strings.Join(out, "\n")
}

// wrap breaks text into lines of at most columns. The first begins with start, the others with as many spaces.
// A word that is longer has a line of its own.
func wrap(start, text string) string {
	indent := utf8.RuneCountInString(start)
	var out strings.Builder
	out.WriteString(start)
	at := indent
	for i, word := range strings.Fields(text) {
		width := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+width > columns:
			out.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			out.WriteByte(' ')
			at++
		}
		out.WriteString(word)
		at += width
	}
	return out.String()
}

// html is the letter as a page of its own, which loads nothing.
func (l letter) html() (string, error) {
	if l.Link == "" {
		l.Blocks = slices.DeleteFunc(l.Blocks, func(b block) bool { return b.Link != "" })
	}
	var out strings.Builder
	if err := layout.Execute(&out, l); err != nil {
		return "", err
	}
	return out.String(), nil
}
