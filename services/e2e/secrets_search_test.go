package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"mime/quotedprintable"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// planted is a value that the suite puts into a Doorstep, and where it may be found again.
type planted struct {
	name string
	core string // the bytes that are looked for: random, 16 at least
	may  []permit
}

// permit is a kind of place where a value may be, as path.Match patterns divided by spaces, and why.
type permit struct{ places, why string }

// evidence is something that came out of a Doorstep, or lies in its stores.
type evidence struct {
	place   string // e.g. "log", "topic/webhooks", "sql/attempts/detail", "answer/POST webhooks"
	content []byte
}

// leak is a value where it has no business.
type leak struct {
	value, place, encoding string
	around                 string // what stands beside it
}

func (l leak) String() string {
	return fmt.Sprintf("%s is in %s (%s): ...%q...", l.value, l.place, l.encoding, l.around)
}

// needle is a planted value in one encoding.
type needle struct{ encoding, text string }

// needles are the encodings in which a value is looked for. Base64 has three, one for each place that a value can
// have within a longer text; what depends on its neighbours is cut off.
func needles(core string) []needle {
	out := []needle{
		{"as it is", core}, {"hex", hex.EncodeToString([]byte(core))}, {"HEX", strings.ToUpper(hex.EncodeToString([]byte(core)))},
	}
	for _, alphabet := range []struct {
		name string
		by   *base64.Encoding
	}{{"base64", base64.RawStdEncoding}, {"base64url", base64.RawURLEncoding}} {
		for offset := range 3 {
			text := alphabet.by.EncodeToString([]byte(strings.Repeat("\x00", offset) + core))
			first, last := []int{0, 2, 3}[offset], len(text)
			if (offset+len(core))%3 != 0 {
				last--
			}
			out = append(out, needle{fmt.Sprintf("%s at %d", alphabet.name, offset), text[first:last]})
		}
	}
	slices.SortFunc(out, func(a, b needle) int { return strings.Compare(a.text, b.text) })
	return slices.CompactFunc(out, func(a, b needle) bool { return a.text == b.text })
}

// escapedJSON is how JSON writes characters that need not be what they are.
var escapedJSON = regexp.MustCompile(`\\u[0-9a-fA-F]{4}|\\[/"\\]`)

// readings are a content as it is and as it reads once an escape is undone.
func readings(content []byte) map[string][]byte {
	out := map[string][]byte{"": content}
	add := func(name string, b []byte) {
		if !bytes.Equal(b, content) {
			out[name] = b
		}
	}
	if bytes.ContainsRune(content, '%') {
		add("URL-escaped", unescapeURL(content))
	}
	if bytes.ContainsRune(content, '\\') {
		add("JSON-escaped", escapedJSON.ReplaceAllFunc(content, func(b []byte) []byte {
			if n, err := strconv.ParseUint(string(b[2:]), 16, 16); err == nil && len(b) == 6 {
				return []byte(string(rune(n)))
			}
			return b[1:]
		}))
	}
	if bytes.ContainsRune(content, '&') {
		add("HTML-escaped", []byte(html.UnescapeString(string(content))))
	}
	if bytes.Contains(content, []byte("=\r\n")) || bytes.Contains(content, []byte("=\n")) || bytes.Contains(content, []byte("=3D")) {
		b, _ := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(content))) // as far as it can be read
		add("quoted-printable", b)
	}
	return out
}

func unescapeURL(content []byte) []byte {
	var out []byte
	for i := 0; i < len(content); i++ {
		if content[i] == '%' && i+2 < len(content) {
			if b, err := hex.DecodeString(string(content[i+1 : i+3])); err == nil {
				out = append(out, b...)
				i += 2
				continue
			}
		}
		out = append(out, content[i])
	}
	return out
}

// search finds every planted value in everything, in any encoding, but for where it may be. seen counts, by value and
// the permit's places, what was found where it may be.
func search(values []planted, all []evidence) (leaks []leak, seen map[string]int) {
	seen = map[string]int{}
	forms := make([][]needle, len(values))
	for i, v := range values {
		forms[i] = needles(v.core)
	}
	for _, e := range all {
		found := map[string]bool{}
		for escape, content := range readings(e.content) {
			for i, v := range values {
				for _, n := range forms[i] {
					at := bytes.Index(content, []byte(n.text))
					if at < 0 || found[v.name] {
						continue
					}
					found[v.name] = true
					if may, ok := v.permitted(e.place); ok {
						seen[v.name+" in "+may.places]++
						continue
					}
					leaks = append(leaks, leak{
						v.name, e.place, strings.TrimSpace(n.encoding + " " + escape),
						string(content[max(0, at-100):min(len(content), at+len(n.text)+60)]),
					})
				}
			}
		}
	}
	return leaks, seen
}

func (v planted) permitted(place string) (permit, bool) {
	for _, p := range v.may {
		for pattern := range strings.SplitSeq(p.places, " | ") {
			if ok, err := path.Match(pattern, place); ok && err == nil {
				return p, true
			}
		}
	}
	return permit{}, false
}

// The search itself can fail to find: this plants a value in every encoding, and in places of every kind.
func TestThePlantedAreFound(t *testing.T) {
	t.Parallel()
	const core = "Vq3.8+/<mark>&\"\\é=Xk29Zt7Lm4"
	quoted, err := json.Marshal(core)
	if err != nil {
		t.Fatal(err)
	}
	var printable bytes.Buffer
	w := quotedprintable.NewWriter(&printable)
	_, _ = w.Write([]byte(strings.Repeat("long ", 13) + core + " = end"))
	_ = w.Close()
	for name, text := range map[string]string{
		"as it is":              "x" + core + "y",
		"JSON":                  string(quoted),
		"JSON by others":        strings.ReplaceAll(strings.ReplaceAll(core, `\`, `\\`), "/", `\/`),
		"query":                 "q=" + url.QueryEscape(core),
		"path":                  "/p/" + url.PathEscape(core),
		"HTML":                  html.EscapeString(core),
		"hex":                   hex.EncodeToString([]byte("..." + core)),
		"HEX":                   strings.ToUpper(hex.EncodeToString([]byte(core + "..."))),
		"base64":                base64.StdEncoding.EncodeToString([]byte(core)),
		"base64 of more":        base64.StdEncoding.EncodeToString([]byte("user:" + core + "!")),
		"base64 of still more":  base64.StdEncoding.EncodeToString([]byte("\x00user\x00" + core)),
		"base64 for URLs":       base64.RawURLEncoding.EncodeToString([]byte("ab" + core + "c")),
		"base64 in JSON of PHP": strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte(core)), "/", `\/`),
		"base64 in a query":     url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(core))),
		"quoted-printable":      printable.String(),
		"one log line":          `{"level":"DEBUG","msg":"x","error":` + string(quoted) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			value := planted{name: "it", core: core, may: []permit{{"topic/a | sql/*/url", "a reason"}}}
			leaks, _ := search([]planted{value}, []evidence{{"log", []byte(text)}, {"topic/a", []byte(text)}, {"sql/webhooks/url", []byte(text)}, {"sql/webhooks/name", []byte(text)}})
			if len(leaks) != 2 || leaks[0].place != "log" || leaks[1].place != "sql/webhooks/name" {
				t.Errorf("found %v in %q", leaks, text)
			}
			if leaks, _ := search([]planted{value}, []evidence{{"log", []byte("Vq3.8+/<mark>&\"\\é=Xk29Zt7Lm")}}); len(leaks) != 0 {
				t.Errorf("found what is not there: %v", leaks)
			}
		})
	}
}
