package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

//go:embed web
var webFiles embed.FS

// The paths of the pages.
const (
	webRoot      = "/console/"
	signInPath   = webRoot + "sign-in"
	signOutPath  = webRoot + "sign-out"
	webhooksPath = webRoot + "webhooks"
)

// maxForm is the largest form that is read, in bytes.
const maxForm = 32 << 10

// webPolicy lets a page load the style sheet and the icon, and send its forms here. There is no script, so what a
// customer wrote into a name or a receiver into an error cannot become one.
const webPolicy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// web are the pages for people: HTML and forms, no script. They do what the API does, by the same methods.
type web struct {
	*Service
	pages   *http.ServeMux
	views   map[string]*template.Template // by file name
	origins *http.CrossOriginProtection
	signIns limiter
	style   []byte
	icon    []byte
	version string // of the style sheet
}

// visit is one request for a page. The zero session: nobody has signed in.
type visit struct {
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context // of the request, with the caller as the API has it
	session session
}

// newVisit is a visit that asks the stores for an answer within workTime.
func newVisit(w http.ResponseWriter, r *http.Request) (v *visit, end func()) {
	ctx, cancel := context.WithTimeout(r.Context(), workTime)
	return &visit{w: w, r: r, ctx: ctx}, cancel
}

// page is what a template shows.
type page struct {
	Title   string
	Session *sessionView // nil: nobody has signed in
	Message string       // what the request before did; told once
	Style   string       // URL of the style sheet
	Now     time.Time
	Main    any
}

// routeWeb adds the pages to the console's address.
func (s *Service) routeWeb(mux *http.ServeMux) {
	p := &web{Service: s, pages: http.NewServeMux(), origins: http.NewCrossOriginProtection(), views: parseViews()}
	if origin := s.cfg.origin(); origin != "" {
		// A proxy may ask for another host than the browser did. Validate has checked the origin.
		_ = p.origins.AddTrustedOrigin(origin)
	}
	p.style, _ = webFiles.ReadFile("web/style.css") // embedded, as the templates are: tests find one that is missing
	p.icon, _ = webFiles.ReadFile("web/icon.svg")
	sum := sha256.Sum256(p.style)
	p.version = hex.EncodeToString(sum[:6])

	for pattern, handler := range p.routes() {
		p.pages.Handle(pattern, handler)
	}
	mux.Handle(webRoot, p)
}

// routes are the pages, and what their forms and style sheets ask for, by pattern.
func (p *web) routes() map[string]http.Handler {
	routes := map[string]http.Handler{
		"GET " + webRoot + "{$}":        http.RedirectHandler(webhooksPath, http.StatusSeeOther),
		"GET " + webRoot + "style.css":  p.asset("text/css; charset=utf-8", p.style),
		"GET " + webRoot + "icon.svg":   p.asset("image/svg+xml", p.icon),
		"GET " + signInPath:             p.anyone(p.showSignIn),
		"POST " + signInPath:            p.anyone(p.signIn),
		"POST " + signOutPath:           p.anyone(p.signOut),
		"GET " + webhooksPath:           p.signedIn(tenant.ScopeWebhooksRead, p.listPage),
		"GET " + webhooksPath + "/{id}": p.signedIn(tenant.ScopeWebhooksRead, p.webhookPage),
	}
	routes["POST "+webhooksPath+"/{id}/test"] = p.signedIn(tenant.ScopeWebhooks, p.testPage)
	for _, a := range webActions() {
		routes["POST "+webhooksPath+"/{id}/"+a.path] = p.signedIn(a.scope, p.acting(a))
	}
	return routes
}

// parseViews reads the templates: each page with the frame around it and the parts that several pages have.
func parseViews() map[string]*template.Template {
	shared := template.Must(template.New("frame.html").Funcs(webFuncs()).ParseFS(webFiles, "web/frame.html", "web/parts.html"))
	files, _ := fs.Glob(webFiles, "web/page_*.html")
	views := make(map[string]*template.Template, len(files))
	for _, file := range files {
		views[path.Base(file)] = template.Must(template.Must(shared.Clone()).ParseFS(webFiles, file))
	}
	return views
}

// ServeHTTP answers everything below webRoot. Whatever comes from another site may look, as far as cookies go
// with it, but never act.
func (p *web) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", webPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // not no-referrer, with which browsers send Origin: null with our own forms
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	v, end := newVisit(w, r)
	defer end()
	if err := p.origins.Check(r); err != nil {
		p.fail(v, newProblem(http.StatusForbidden, "this came from another site, so nothing was done; do it again in the console's own pages"))
		return
	}
	if _, pattern := p.pages.Handler(r); pattern == "" {
		p.elsewhere(v)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	p.pages.ServeHTTP(w, r)
}

// elsewhere answers what is no page.
func (p *web) elsewhere(v *visit) {
	_ = p.resume(v) // whoever has signed in keeps the way out in sight
	status, detail := http.StatusNotFound, "there is no such page"
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if _, pattern := p.pages.Handler(&http.Request{Method: method, URL: v.r.URL, Host: v.r.Host}); pattern != "" {
			v.w.Header().Add("Allow", method)
			status, detail = http.StatusMethodNotAllowed, "this address is used in another way; go to the page and use its buttons"
		}
	}
	p.fail(v, newProblem(status, detail))
}

// asset serves an embedded file, whose address changes with it.
func (p *web) asset(contentType string, b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		if r.URL.RawQuery == p.version {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		_, _ = w.Write(b)
	}
}

// anyone is a page for which nobody needs to have signed in.
func (p *web) anyone(handle func(*visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, end := newVisit(w, r)
		defer end()
		if err := handle(v); err != nil {
			p.fail(v, err)
		}
	}
}

// signedIn is a page for those whose key has the scope; others are asked to sign in, or refused. A form must bear
// its session's token.
func (p *web) signedIn(scope tenant.Scope, handle func(*visit) error) http.HandlerFunc {
	return p.anyone(func(v *visit) error {
		err := p.resume(v)
		if errors.Is(err, errNoSession) {
			p.askToSignIn(v)
			return nil
		}
		if err != nil {
			return err
		}
		if v.r.Method == http.MethodPost {
			if err := p.checkForm(v); err != nil {
				return err
			}
		}
		if !v.session.Allows(scope) {
			return newProblem(http.StatusForbidden, "the API key that you signed in with does not have the scope "+string(scope))
		}
		if err := p.checkWebhooks(v.session.Tenant); err != nil {
			return err
		}
		return handle(v)
	})
}

// render writes a page.
func (p *web) render(v *visit, status int, view, title string, main any) {
	data := page{Title: title, Message: p.takeMessage(v), Style: webRoot + "style.css?" + p.version, Now: time.Now().UTC(), Main: main}
	if v.session.token != "" {
		data.Session = v.session.view()
	}
	var b bytes.Buffer
	if err := p.views[view].Execute(&b, data); err != nil {
		p.log.Error("page failed", "request_id", requestID(v.ctx), "page", view, "error", err)
		http.Error(v.w, "This is a fault of Doorstep.", http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes())
}

// failurePage is what the page of an error shows.
type failurePage struct {
	Status    int
	Detail    string
	Fields    []FieldProblem
	Back      string // where to go from here
	RequestID string
}

// fail shows an error as a page, in the API's words.
func (p *web) fail(v *visit, err error) {
	problem := p.problemOf(v.ctx, err)
	maps.Copy(v.w.Header(), problem.header)
	f := failurePage{
		Status: problem.Status, Detail: sentence(problem.Detail), Fields: problem.Errors, Back: webhooksPath, RequestID: requestID(v.ctx),
	}
	if id := v.r.PathValue("id"); checkID(id) == nil && problem.Status != http.StatusNotFound {
		f.Back = webhooksPath + "/" + id
	}
	title := problem.Title
	if errors.Is(err, sqlstore.ErrNotFound) {
		f.Detail = "There is no such webhook."
	}
	p.render(v, problem.Status, "page_problem.html", title, f)
}

// sentence is an error's text as a sentence.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// redirect goes on to a page of the console, which tells the message once; "" is none.
func (p *web) redirect(v *visit, to, message string) {
	if message != "" {
		p.leaveMessage(v, message)
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther) //nolint:gosec // to is a path of ours: callers build it from the root and an id that was looked up
}
