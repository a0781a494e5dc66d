package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// # Requests that are carried out once
//
// A route with once heeds Idempotency-Key, as draft-ietf-httpapi-idempotency-key-header and Stripe have it: of all
// requests of one API key, tenant and route with one such key one is carried out, and the others within a day get its
// answer, with the header Idempotent-Replayed. Another path, query or body under the same key is a 422; while the first is
// under way the others get a 409. What fails is not kept: the same request may be made again.
//
// Wherever a console is killed:
//
//	before the claim is committed         nothing is there; the next request is the first
//	claimed, and the change not committed the claim is taken over once it is a minute old; until then 409
//	the change is committed               so is the answer, with it: it is replayed
//	of what goes to the log (resend, test):
//	promised, not known whether written   who takes over writes the same run, unless the history has it
//	written                               as above: a run is one, however often its record is written
//
// The answer to a test is kept without what the receiver said, as the 202 of one that
// has not answered yet; its delivery has the rest.
//
// The argument is beside sqlstore.Claim. The answer is kept without what is secret: a webhook's secret and headers are told
// again as they are then, to who may see them; an API key is not, since nobody knows it any more.
const (
	onceKept = 24 * time.Hour
	// onceHeld is for how long a request has its claim: longer than any that is alive takes (route.within).
	onceHeld    = time.Minute
	onceEndTime = time.Second
	maxOnceKey  = 255

	codeOnceOther   = "idempotency_key_reused"
	codeOnceRunning = "idempotency_key_in_use"
)

// doing is a request with an Idempotency-Key.
type doing struct {
	once   sqlstore.Once
	key    string // as the caller has it
	asked  *http.Request
	answer http.Header
	claim  *sqlstore.Claim // nil: not claimed yet
	kept   *sqlstore.Completion
}

// withOnce is ctx with the request's Idempotency-Key, if the route heeds it and the request has one.
func (r route) withOnce(ctx context.Context, asked *http.Request, answer http.Header) (context.Context, error) {
	key := asked.Header.Get("Idempotency-Key")
	if !r.once || key == "" && len(asked.Header.Values("Idempotency-Key")) == 0 {
		return ctx, nil
	}
	if quoted := strings.Trim(key, " "); len(quoted) > 1 && quoted[0] == '"' && quoted[len(quoted)-1] == '"' {
		key = quoted[1 : len(quoted)-1] // as the draft has it; without quotes as everybody sends it
	}
	if len(key) == 0 || len(key) > maxOnceKey || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
		return ctx, invalid.Fields{{Name: "Idempotency-Key", Message: fmt.Sprintf("must have 1 to %d ASCII characters, e.g. a UUID", maxOnceKey)}}
	}
	c := callerOf(ctx)
	// Neither key nor body can be worked out from what is stored, if the key is a random one.
	sum := sha256.Sum256([]byte(key))
	return context.WithValue(ctx, onceKey, &doing{key: key, asked: asked, answer: answer, once: sqlstore.Once{
		Tenant: c.Tenant, APIKeyID: c.Key.ID, Route: r.id, Key: hex.EncodeToString(sum[:]),
	}}), nil
}

// describeOnce adds to the description of a route's operation what it takes.
func (r route) describeOnce(op *huma.Operation) {
	if r.once {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: new(maxOnceKey), Pattern: `^[ -~]+$`},
			Description: "Of all requests with one key within 24 hours one is carried out; the others get its answer, with the header Idempotent-Replayed. Another request under the same key is a 422, one while the first is under way a 409.",
		})
	}
}

// once carries a request out by handle, or answers what it was answered before.
func once[I, O any](s *Service, handle func(context.Context, *I) (*O, error)) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (*O, error) {
		d, _ := ctx.Value(onceKey).(*doing)
		if d == nil {
			return handle(ctx, in)
		}
		store, err := s.sql()
		if err != nil {
			return nil, err
		}
		now := time.Now()
		d.once.Fingerprint = fingerprint(d.key, d.asked, bodyOf(in))
		c, err := store.Claim(ctx, d.once, rand.Text(), now, now.Add(onceHeld), now.Add(onceKept))
		if err != nil {
			return nil, err
		}
		switch c.State {
		case sqlstore.ClaimOther:
			p := newProblem(http.StatusUnprocessableEntity, "this Idempotency-Key was used for another request within the last 24 hours; use a new one for a new request")
			p.Code = codeOnceOther
			return nil, p
		case sqlstore.ClaimRunning:
			return nil, stillRunning()
		case sqlstore.ClaimDone:
			return replayed[O](ctx, s, d, c.Answer)
		case sqlstore.ClaimMine:
		}
		d.claim = &c
		out, err := handle(ctx, in)
		s.endOnce(ctx, store, d, out, err)
		return out, err
	}
}

func stillRunning() *Problem {
	p := newProblem(http.StatusConflict, "a request with this Idempotency-Key is under way; make the same one again in a moment to get its answer")
	p.Code = codeOnceRunning
	p.header.Set("Retry-After", "1")
	return p
}

// endOnce gives the claim of a request up that failed, and keeps the answer of one that was not
// known when it made its change.
func (s *Service) endOnce(ctx context.Context, store *sqlstore.Store, d *doing, out any, failed error) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), onceEndTime)
	defer cancel()
	var err error
	switch {
	case failed != nil:
		err = store.GiveUp(within, *d.claim)
	default:
		if text := answerText(out); d.kept == nil || d.kept.Answer != text {
			err = store.Complete(within, sqlstore.Completion{Claim: *d.claim, Answer: text})
		}
	}
	if err != nil {
		s.seldom.Warn(ctx, s.log, "a request with an Idempotency-Key is not ended", "request_id", requestID(ctx), "error", err)
	}
}

// answering has the answer of a request, which out makes, kept with the change that makes it true, if the request has an
// Idempotency-Key. The authors of authorOf afterwards have it with them.
func answering(ctx context.Context, out func() any) {
	if d, _ := ctx.Value(onceKey).(*doing); d != nil && d.claim != nil {
		d.kept = &sqlstore.Completion{Claim: *d.claim, Answer: answerText(out())}
	}
}

// completion is what a change of this request completes; nil: it has no Idempotency-Key.
func completion(ctx context.Context) *sqlstore.Completion {
	d, _ := ctx.Value(onceKey).(*doing)
	if d == nil || d.claim == nil {
		return nil
	}
	if d.kept == nil {
		d.kept = &sqlstore.Completion{Claim: *d.claim}
	}
	return d.kept
}

// promised is what a request before this one has promised to answer, and may have carried out.
func promised[O any](ctx context.Context) (out O, ok bool) {
	d, _ := ctx.Value(onceKey).(*doing)
	if d == nil || d.claim == nil || d.claim.Answer == "" {
		return out, false
	}
	return out, json.Unmarshal([]byte(d.claim.Answer), &out) == nil
}

// replayed is an answer that was kept.
func replayed[O any](ctx context.Context, s *Service, d *doing, kept string) (*O, error) {
	if kept == "" {
		return nil, conflict("idempotency_answer_lost", "the request was carried out, but Doorstep stopped before its answer was kept; look for what it has made")
	}
	out := new(O)
	if err := json.Unmarshal([]byte(kept), out); err != nil {
		return nil, fmt.Errorf("read the answer of a request before: %w", err)
	}
	d.answer.Set("Idempotent-Replayed", "true")
	return out, s.tellAgain(ctx, out)
}

// keyNotAgain is said where an API key's creation is answered again.
const keyNotAgain = "the API key itself was told in the first answer only, and is stored nowhere; if that answer was lost, delete this key and make another"

// tellAgain puts into an answer what is secret and was not kept.
func (s *Service) tellAgain(ctx context.Context, out any) error {
	switch out := out.(type) {
	case *tagged[Key]:
		out.Body.Meta.Notice = keyNotAgain
	case *tagged[Webhook]:
		store, of, err := s.storeAndTenant(ctx)
		if err != nil {
			return err
		}
		w, err := store.Webhook(ctx, of.ID, out.Body.Data.ID)
		if errors.Is(err, sqlstore.ErrNotFound) {
			out.Body.Meta.Notice = "the webhook was deleted meanwhile, so its secret and the values of its headers are not told"
			return nil
		}
		if err != nil {
			return err
		}
		known := s.secretsOf(ctx, w)
		if !callerOf(ctx).Allows(tenant.ScopeWebhooks) {
			known = known.masked()
		}
		out.Body.Data.Secret = known.secret
		for name := range out.Body.Data.Headers {
			if value, has := known.headers[name]; has {
				out.Body.Data.Headers[name] = value
			}
		}
	}
	return nil
}

// answerText is an answer as it is kept: without what is secret.
func answerText(out any) string {
	switch v := out.(type) {
	case *tagged[Key]:
		bare := *v
		bare.Body.Data.Key = ""
		out = &bare
	case *testOutput: // without what the receiver said, which the delivery has
		bare := *v
		bare.Status, bare.Body.Data.Attempt = http.StatusAccepted, nil
		out = &bare
	case *tagged[Webhook]:
		bare := *v
		bare.Body.Data.Secret, bare.Body.Data.Headers = "", map[string]string{}
		for name := range v.Body.Data.Headers {
			bare.Body.Data.Headers[name] = hidden
		}
		out = &bare
	}
	text, err := json.Marshal(out)
	if err != nil {
		return "" // it cannot be answered either
	}
	return string(text)
}

// fingerprint is of all that a request says, and of the caller's key, without which the body cannot be guessed from it.
func fingerprint(key string, r *http.Request, body []byte) [32]byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(key), []byte(r.Method), []byte(r.URL.EscapedPath()), []byte(r.URL.RawQuery), body} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return [32]byte(h.Sum(nil))
}

// bodyOf is the body that an input has, as it came.
func bodyOf(in any) []byte {
	field := reflect.ValueOf(in).Elem().FieldByName("RawBody")
	if !field.IsValid() {
		return nil
	}
	return field.Bytes()
}
