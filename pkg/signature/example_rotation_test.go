package signature_test

import (
	"fmt"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/signature"
)

// While a secret is being replaced, a receiver verifies with both, the new one and the former. It can be given
// the new one at any time within the overlap, and need not be given it everywhere at once: until the
// overlap ends Doorstep signs with both.
func ExampleVerify_rotation() {
	handle := func(id string, _ []byte) error { fmt.Println(id); return nil }
	const former, current = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	behind, err := NewReceiver(handle, former)
	if err != nil {
		fmt.Println(err)
		return
	}
	ahead, err := NewReceiver(handle, current, former)
	if err != nil {
		fmt.Println(err)
		return
	}
	before := []signature.Key{{Secret: ahead.Secrets[1]}}
	during := []signature.Key{{Secret: ahead.Secrets[0]}, {Secret: ahead.Secrets[1], ExpiresAt: time.Now().Add(24 * time.Hour)}}
	after := []signature.Key{{Secret: ahead.Secrets[0]}, {Secret: ahead.Secrets[1], ExpiresAt: time.Now().Add(-time.Minute)}}
	post(ahead, "before", "{}", before...)
	post(behind, "during", "{}", during...)
	post(ahead, "during", "{}", during...)
	post(behind, "after", "{}", after...)
	post(ahead, "after", "{}", after...)
	// Output:
	// before
	// 204
	// during
	// 204
	// during
	// 204
	// 401 no signature matches: check the secret, and that the body is verified as it came, before it is parsed
	// after
	// 204
}

// A receiver that has the public key of a webhook's key pair can verify, and nobody who steals that key from it
// can sign.
func ExampleVerify_publicKey() {
	pair := signature.NewKeyPair([32]byte{1, 2, 3}) // stays with Doorstep
	public, _ := pair.Public()
	receiver, err := NewReceiver(func(id string, _ []byte) error { fmt.Println(id); return nil }, public.Text())
	if err != nil {
		fmt.Println(err)
		return
	}
	secret := signature.NewSecret([32]byte{4, 5, 6})
	fmt.Println(public.Text())
	post(receiver, "msg_1", "{}", signature.Key{Secret: secret}, signature.Key{Secret: pair})
	post(receiver, "msg_2", "{}", signature.Key{Secret: secret})
	// Output:
	// whpk_Ih/l9oWaGk/seQV8nTLI0/w1bhRLHaOw+QFu9vKYiNo=
	// msg_1
	// 204
	// 401 no signature matches: check the secret, and that the body is verified as it came, before it is parsed
}
