package console

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// hostile are the addresses that a name of a webhook must not have.
var hostile = []string{
	"0.0.0.0", "10.0.0.8", "100.64.0.1", "100.100.100.200", "127.0.0.1", "168.63.129.16", "169.254.169.254", "172.16.0.1", "192.0.2.1", "192.168.0.1",
	"198.18.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:10.0.0.8", "64:ff9b::a00:8", "64:ff9b:1::a00:8", "2001:0:a00:8::1",
	"2001:db8::1", "2002:a00:8::1", "2606:4700::5efe:a00:8", "fc00::1", "fd00:ec2::254", "fe80::1", "ff02::1",
}

// A registration looks the name up as an attempt does, and takes one second at most.
func TestTargetAsksDNS(t *testing.T) {
	t.Parallel()
	names := testkit.NewDNS(t)
	check := newTarget(egress.Policy{}, names.Resolver())
	cases := map[string]struct {
		zone     testkit.Zone
		accepted bool
	}{
		"public":                   {testkit.Zone{Addresses: []string{"93.184.215.14", "2606:4700::1111"}}, true},
		"public and private":       {testkit.Zone{Addresses: []string{"93.184.215.14", "10.0.0.8"}}, false},
		"public, private over v6":  {testkit.Zone{Addresses: []string{"93.184.215.14", "::1"}}, false},
		"private last of 200":      {testkit.Zone{Addresses: append(public(200), "10.0.0.8")}, false},
		"private behind an alias":  {testkit.Zone{CNAMEs: []string{"db.internal", "localhost"}, Addresses: []string{"10.0.0.8"}}, false},
		"aliases in a ring":        {testkit.Zone{CNAMEs: []string{"a.example", "b.example", "a.example"}}, true},
		"private, over TCP":        {testkit.Zone{Truncated: true, Addresses: []string{"10.0.0.8"}}, false},
		"thousands":                {testkit.Zone{Addresses: append(public(3900), "10.0.0.8")}, true}, // no attempt gets that far
		"no address":               {testkit.Zone{}, true},
		"does not exist":           {testkit.Zone{RCode: dnsmessage.RCodeNameError}, true},
		"servers fail":             {testkit.Zone{RCode: dnsmessage.RCodeServerFailure}, true},
		"servers refuse":           {testkit.Zone{RCode: dnsmessage.RCodeRefused}, true},
		"slow, within the second":  {testkit.Zone{Delay: 100 * time.Millisecond, Addresses: []string{"10.0.0.8"}}, false},
		"slow, beyond the second":  {testkit.Zone{Delay: time.Hour, Addresses: []string{"10.0.0.8"}}, true},
		"silent":                   {testkit.Zone{Silent: true}, true},
		"garbage":                  {testkit.Zone{Func: func(string, dnsmessage.Message) []byte { return []byte("garbage") }}, true},
		"truncated, then no TCP":   {testkit.Zone{Func: onlyTruncated}, true},
		"an answer to another ask": {testkit.Zone{Func: otherID}, true},
	}
	for _, address := range hostile {
		cases["at "+address] = struct {
			zone     testkit.Zone
			accepted bool
		}{testkit.Zone{Addresses: []string{address}}, false}
	}
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := strings.NewReplacer(" ", "-", ",", "", ":", "-", ".", "-").Replace(name) + "x.hooks.example"
			names.Set(host, tt.zone)
			start := time.Now()
			err := check.check(t.Context(), "https://"+host+"/")
			if (err == nil) != tt.accepted {
				t.Errorf("%v, want accepted: %v", err, tt.accepted)
			}
			if err != nil && !strings.Contains(err.Error(), "not public") {
				t.Errorf("the words %q do not name what is wrong", err)
			}
			for _, address := range tt.zone.Addresses {
				if err != nil && strings.Contains(err.Error(), address) {
					t.Errorf("the words %q tell an address of the operator's network", err)
				}
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %s, want one second at most", took)
			}
		})
	}
}

func public(n int) (addresses []string) {
	for i := range n {
		addresses = append(addresses, fmt.Sprintf("93.184.%d.%d", i/256, i%256))
	}
	return addresses
}

func onlyTruncated(network string, query dnsmessage.Message) []byte {
	if network != "udp" {
		return nil
	}
	query.Response, query.Truncated, query.Additionals = true, true, nil
	answer, err := query.Pack()
	if err != nil {
		return nil
	}
	return answer
}

func otherID(_ string, query dnsmessage.Message) []byte {
	query.ID++
	return testkit.Answer(query, testkit.Zone{Addresses: []string{"10.0.0.8"}})
}

// A name that showed a public address, or none, at registration is judged again at each attempt.
func TestTargetThatTurns(t *testing.T) {
	t.Parallel()
	names := testkit.NewDNS(t)
	check := newTarget(egress.Policy{}, names.Resolver())
	client := post.New(post.Config{Resolver: names.Resolver()})
	defer client.Close()
	for name, first := range map[string]testkit.Zone{
		"public at first":  {Addresses: []string{"93.184.215.14"}},
		"nothing at first": {RCode: dnsmessage.RCodeNameError},
		"failed at first":  {RCode: dnsmessage.RCodeRefused},
		"slow at first":    {Delay: time.Hour},
	} {
		for _, address := range hostile {
			if name == "slow at first" && address != "10.0.0.8" {
				continue // a second each
			}
			host := strings.NewReplacer(" ", "-", ":", "-", ".", "-").Replace(name+" "+address) + "x.turns.example"
			names.Set(host, first)
			if err := check.check(t.Context(), "https://"+host+"/"); err != nil {
				t.Errorf("%s, %s: %v", name, address, err)
			}
			names.Set(host, testkit.Zone{Addresses: []string{address}})
			out := client.Post(context.Background(), post.Request{URL: "https://" + host + "/", Body: []byte("{}")})
			if out.ErrorCode != post.CodeAddress || out.RemoteAddress != "" {
				t.Errorf("%s, then %s: %s", name, address, shown(out))
			}
		}
	}
}

func shown(out delivery.Outcome) string {
	return fmt.Sprintf("%q (%s), dialled %q", out.ErrorCode, out.Error, out.RemoteAddress)
}

// A URL that names an address, in whatever form, is judged without a question to DNS.
func TestTargetJudgesAddressesByTheirText(t *testing.T) {
	t.Parallel()
	names := testkit.NewDNS(t)
	names.Set("*", testkit.Zone{Addresses: []string{"93.184.215.14"}})
	check := newTarget(egress.Policy{}, names.Resolver())
	urls := []string{
		"https://2130706433/", "https://0x7f.1/", "https://017700000001/", "https://127.1/", "https://4294967297/", "https://１２７.0.0.1/", "https://127。0。0。1/",
		"https://localhost/", "https://a.internal/", "https://user@a.example/", "https://a.example:22/", "https://a.example\\@b.example/", "https://a.example\t/",
		"https://[fe80::1%25eth0]/", "https:///a.example/", "https:a.example", "http://a.example/", "https://a.example/#b", "https://xn--127-.0.0.1/",
	}
	for _, address := range hostile {
		host := address
		if netip.MustParseAddr(address).Is6() {
			host = "[" + address + "]"
		}
		urls = append(urls, "https://"+host+"/", "https://"+host+":8443/")
	}
	for _, url := range urls {
		if err := check.check(t.Context(), url); err == nil {
			t.Errorf("%s was accepted", url)
		}
	}
	if asked := names.Asked(); len(asked) != 0 {
		t.Errorf("asked for %v", asked)
	}
}
