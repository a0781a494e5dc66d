package post_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

func TestKeepAnswerBytes(t *testing.T) {
	receiver := testkit.NewReceiver(t)
	for _, keep := range []int{0, 1, 100, post.DefaultKeepAnswerBytes, post.MaxKeepAnswerBytes} {
		client := newClient(t, func(c *post.Config) { c.KeepAnswerBytes = &keep })
		for _, size := range []int{0, 1, 99, 100, 101, post.DefaultKeepAnswerBytes + 1, post.MaxKeepAnswerBytes + 1, post.MaxBodyBytes, post.MaxBodyBytes + 1} {
			body := make([]byte, size)
			for i := range body {
				body[i] = 'a' + byte(i%26)
			}
			receiver.Set("", testkit.Behaviour{Status: 200, Body: body})
			out := attempt(t, client, post.Request{URL: receiver.URL})
			if want := body[:min(size, keep)]; !bytes.Equal(out.ResponseBody, want) {
				t.Errorf("of %d bytes, at most %d to be kept, %d were kept, or others", size, keep, len(out.ResponseBody))
			}
			if (out.ErrorCode == post.CodeTooLarge) != (size > post.MaxBodyBytes) {
				t.Errorf("%d bytes: %q", size, out.ErrorCode)
			}
		}
	}
}

// A receiver that answers with what it was sent does not carry a customer's secrets into the record.
func TestEchoedSecretsAreMasked(t *testing.T) {
	receiver := testkit.NewReceiver(t)
	receiver.Set("", testkit.Behaviour{Func: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("X-Team"))
		w.Header().Set("X-Said", "you sent "+r.Header.Get("X-Api-Key"))
		w.Header().Set("Location", "/a?with="+r.Header.Get("X-Api-Key"))
		w.WriteHeader(http.StatusFound)
		_, _ = fmt.Fprintf(w, "%s: %v", strings.Repeat("x", 100), r.Header)
	}})
	secrets := []string{"t0ken-of-a-customer", "dXNlcjpodW50ZXIy", "Zk3vQ9sLm2Xc8Rt5Yw1B"}
	for keep := 100; keep < 400; keep += 7 { // the cut goes through each of them
		client := newClient(t, func(c *post.Config) { c.KeepAnswerBytes = &keep })
		out := attempt(t, client, post.Request{URL: receiver.URL, Header: []delivery.Header{
			{Name: "X-Api-Key", Value: secrets[0]}, {Name: "Authorization", Value: "Basic " + secrets[1]}, {Name: "X-Ref", Value: secrets[2]},
			{Name: "X-Team", Value: "blue"}, {Name: "Webhook-Signature", Value: "v1,c2lnbmF0dXJl"},
		}})
		text := fmt.Sprintf("%+v %+v %s %s", out.RequestHeaders, out.ResponseHeaders, out.Error, out.ResponseBody)
		for _, s := range secrets {
			if strings.Contains(text, s[:8]) {
				t.Errorf("with %d bytes kept, %s is in %s", keep, s, text)
			}
		}
		for _, shown := range []string{"X-Echo Value:blue}", "Webhook-Signature Value:v1,c2lnbmF0dXJl}", "X-Said Value:***}", "Location Value:***}"} {
			if !strings.Contains(text, shown) {
				t.Errorf("%s is not in %s", shown, text)
			}
		}
	}
}
