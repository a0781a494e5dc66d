package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

const (
	sessionCookie   = "doorstep_session"
	sessionLife     = 12 * time.Hour
	sessionTokenLen = 32 // bytes

	// Sign-ins of all callers together. A key has 192 random bits, so this only keeps guessers from using up the
	// database; while one is at it, others may have to try again.
	signInsPerSecond = 10
	signInsAtOnce    = 100
)

// errNoSession says that nobody has signed in, or that the session has ended.
var errNoSession = errors.New("no session")

// session is a person who has signed in. The browser holds the token, the database its hash.
type session struct {
	caller
	token string
}

// sessionView is what every page shows of a session.
type sessionView struct {
	Tenant string
	Key    string // name of the API key
	Token  string // that every form sends back
}

func (s session) view() *sessionView {
	return &sessionView{Tenant: s.Tenant, Key: s.Key.Name, Token: s.formToken()}
}

// formToken is what a form of this session's pages must send: another site's page can neither read nor work it out.
func (s session) formToken() string {
	mac := hmac.New(sha256.New, []byte(s.token))
	mac.Write([]byte("form"))
	return hex.EncodeToString(mac.Sum(nil))
}

// sessionID is how the database knows a token; false: it cannot be one.
func sessionID(token string) (id [32]byte, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != sessionTokenLen {
		return id, false
	}
	return sha256.Sum256(b), true
}

// resume finds the session of a visit. It errs with errNoSession if there is none (any more): it has expired, or
// its API key has, or is gone. What the key may do is what it may do now.
func (p *web) resume(v *visit) error {
	cookie, err := v.r.Cookie(sessionCookie)
	if err != nil {
		return errNoSession
	}
	id, ok := sessionID(cookie.Value)
	if !ok {
		return errNoSession
	}
	store, err := p.sql()
	if err != nil {
		return err
	}
	now := time.Now()
	row, err := store.Session(v.ctx, id, now)
	if errors.Is(err, sqlstore.ErrNotFound) {
		return errNoSession
	}
	if err != nil {
		return err
	}
	c, err := p.renew(v.ctx, row.KeyHash, row.Tenant, now)
	if errors.Is(err, auth.ErrWrongKey) || errors.Is(err, auth.ErrOtherTenant) {
		if err := store.DeleteSession(v.ctx, id); err != nil {
			p.log.Warn("a session whose key is gone was not deleted", "error", err)
		}
		return errNoSession
	}
	if err != nil {
		return err
	}
	v.session = session{caller: c, token: cookie.Value}
	v.ctx = context.WithValue(v.ctx, callerKey, c)
	return nil
}

// renew is the caller that signed in with the key of that hash, as the key is now.
func (p *web) renew(ctx context.Context, hash [32]byte, of string, now time.Time) (caller, error) {
	find, failed := p.finder(ctx)
	principal, err := auth.Principal{Key: tenant.APIKey{Hash: hash}}.Renew(find, now)
	if err := failed(); err != nil {
		return caller{}, err
	}
	if err != nil {
		return caller{}, err
	}
	of, err = principal.Tenant(of)
	return caller{Principal: principal, Tenant: of}, err
}

// checkForm reads the form of a POST and errs unless it came from this session's pages.
func (p *web) checkForm(v *visit) error {
	if err := readForm(v.r); err != nil {
		return err
	}
	if !hmac.Equal([]byte(v.r.PostForm.Get("token")), []byte(v.session.formToken())) {
		return newProblem(http.StatusForbidden, "this form is not one of your session, so nothing was done; reload the page and try again")
	}
	return nil
}

func readForm(r *http.Request) error {
	err := r.ParseForm()
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return newProblem(http.StatusRequestEntityTooLarge, "the form is too large")
	}
	if err != nil {
		return newProblem(http.StatusBadRequest, "the form cannot be read")
	}
	return nil
}

// signInPage is what the template of the sign-in shows.
type signInPage struct {
	Tenant  string // as it was typed
	Webhook string // where to go afterwards; empty: the list
	Fault   string
}

func (p *web) showSignIn(v *visit) error {
	if err := p.resume(v); err == nil {
		p.redirect(v, webhooksPath, "")
		return nil
	}
	p.render(v, http.StatusOK, "page_sign_in.html", "Sign in", signInPage{Webhook: webhookOf(v.r.URL.Query().Get("webhook"))})
	return nil
}

// webhookOf is an id if it can be one. Only an id is ever handed on, and the address is made from it here, so nobody
// can be sent elsewhere after signing in.
func webhookOf(id string) string {
	if checkID(id) != nil {
		return ""
	}
	return id
}

// signIn starts a session for whoever shows an API key. That it comes from our own page is said by the browser
// (CrossOriginProtection: Sec-Fetch-Site, else Origin), which is what keeps another site from signing a person in
// with its own key: there is no session yet that a token could be of, and a cookie made for it could be overwritten
// from a neighbouring host.
func (p *web) signIn(v *visit) error {
	if err := readForm(v.r); err != nil {
		return err
	}
	typed := signInPage{Tenant: strings.TrimSpace(v.r.PostForm.Get("tenant")), Webhook: webhookOf(v.r.PostForm.Get("webhook"))}
	now := time.Now()
	if !p.signIns.allow(now) {
		return newProblem(http.StatusTooManyRequests, "too many people are signing in; wait a moment and try again")
	}
	store, err := p.sql()
	if err != nil {
		return err
	}
	key := strings.TrimSpace(v.r.PostForm.Get("key"))
	c, err := p.authenticate(v.ctx, "Bearer "+key, typed.Tenant)
	if err == nil && !c.Allows(tenant.ScopeWebhooksRead) {
		err = newProblem(http.StatusForbidden, "the API key does not have the scope "+string(tenant.ScopeWebhooksRead))
	}
	if err == nil && c.Platform() {
		if _, err = store.Tenant(v.ctx, c.Tenant); errors.Is(err, sqlstore.ErrNotFound) {
			err = invalid.Fields{{Name: "tenant", Message: "is not the name of one"}}
		}
	}
	if err != nil {
		return p.refuse(v, typed, err)
	}
	if err := p.begin(v, store, c, now); err != nil {
		return err
	}
	to := webhooksPath
	if typed.Webhook != "" {
		to += "/" + typed.Webhook
	}
	p.redirect(v, to, "")
	return nil
}

// refuse shows the sign-in again with what was wrong, if it was the person's doing.
func (p *web) refuse(v *visit, typed signInPage, err error) error {
	var fields invalid.Fields
	switch problem := p.problemOf(v.ctx, err); {
	case errors.As(err, &fields):
		typed.Fault = "There is no such tenant."
		p.render(v, problem.Status, "page_sign_in.html", "Sign in", typed)
	case problem.Status == http.StatusUnauthorized:
		typed.Fault = "The API key is not known or has expired." // also for none
		p.render(v, problem.Status, "page_sign_in.html", "Sign in", typed)
	case problem.Status == http.StatusForbidden:
		typed.Fault = sentence(problem.Detail)
		p.render(v, problem.Status, "page_sign_in.html", "Sign in", typed)
	default:
		return err
	}
	return nil
}

// begin stores a new session and gives the browser its token. What it held before ends.
func (p *web) begin(v *visit, store *sqlstore.Store, c caller, now time.Time) error {
	var random [sessionTokenLen]byte
	_, _ = rand.Read(random[:]) // never errs
	err := store.CreateSession(v.ctx, sqlstore.Session{
		ID: sha256.Sum256(random[:]), KeyHash: c.Key.Hash, Tenant: c.Tenant, CreatedAt: now.UTC(), ExpiresAt: now.Add(sessionLife).UTC(),
	})
	if err != nil {
		return err
	}
	if err := p.end(v, store); err != nil {
		p.log.Warn("the session before was not deleted", "error", err)
	}
	if err := store.DeleteExpiredSessions(v.ctx, now); err != nil {
		p.log.Warn("expired sessions were not deleted", "error", err)
	}
	http.SetCookie(v.w, p.cookie(v, sessionCookie, "/", base64.RawURLEncoding.EncodeToString(random[:]), sessionLife))
	p.log.Info("signed in to the web console", "key", c.Key.ID, "tenant", c.Tenant)
	return nil
}

// end deletes the session that the browser's token is of, if it has one.
func (p *web) end(v *visit, store *sqlstore.Store) error {
	cookie, err := v.r.Cookie(sessionCookie)
	if err != nil {
		return nil //nolint:nilerr // no cookie, no session
	}
	id, ok := sessionID(cookie.Value)
	if !ok {
		return nil
	}
	return store.DeleteSession(v.ctx, id)
}

// signOut ends the session. Without one there is nothing to end, and nothing to check.
func (p *web) signOut(v *visit) error {
	switch err := p.resume(v); {
	case errors.Is(err, errNoSession):
	case err != nil:
		return err
	default:
		if err := p.checkForm(v); err != nil {
			return err
		}
		store, err := p.sql()
		if err == nil {
			err = p.end(v, store)
		}
		if err != nil {
			return err
		}
	}
	http.SetCookie(v.w, p.cookie(v, sessionCookie, "/", "", -1))
	p.redirect(v, signInPath, "signed-out")
	return nil
}

// askToSignIn sends a visitor to the sign-in, and from there to the webhook that was asked for.
func (p *web) askToSignIn(v *visit) {
	message := ""
	if _, err := v.r.Cookie(sessionCookie); err == nil {
		message = "session-ended"
		http.SetCookie(v.w, p.cookie(v, sessionCookie, "/", "", -1))
	}
	to := signInPath
	if id := webhookOf(v.r.PathValue("id")); id != "" {
		to += "?webhook=" + id
	}
	p.redirect(v, to, message)
}

// cookie is one of the console's cookies. life below 0 removes it.
func (p *web) cookie(v *visit, name, path, value string, life time.Duration) *http.Cookie {
	age := int(life / time.Second)
	if life < 0 {
		age = -1
	}
	return &http.Cookie{ //nolint:gosec // Secure where people reach the console over https
		Name: name, Value: value, Path: path, MaxAge: age, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: v.r.TLS != nil || strings.HasPrefix(p.cfg.PublicURL, "https://"),
	}
}

// limiter lets so many through a second, and more only after a pause. The zero value is full.
type limiter struct {
	mu    sync.Mutex
	taken float64 // of signInsAtOnce
	at    time.Time
}

// allow reports whether one more may go on at now.
func (l *limiter) allow(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = max(0, l.taken-now.Sub(l.at).Seconds()*signInsPerSecond)
	l.at = now
	if l.taken+1 > signInsAtOnce {
		return false
	}
	l.taken++
	return true
}
