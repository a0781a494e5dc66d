package egress_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/egress"
)

var (
	strict = egress.Policy{}
	local  = egress.Policy{AllowNetworks: networks("127.0.0.0/8,::1/128"), AllowHTTP: true}
)

func networks(s string) []netip.Prefix {
	n, err := egress.ParseNetworks(s)
	if err != nil {
		panic(err)
	}
	return n
}

func TestCheckURL(t *testing.T) {
	for name, tt := range map[string]struct {
		policy egress.Policy
		raw    string
		want   string // the URL as dialled
	}{
		"https":                     {strict, "https://example.com/hooks?a=b", "https://example.com/hooks?a=b"},
		"port 443":                  {strict, "https://example.com:443/", "https://example.com:443/"},
		"port 1024":                 {strict, "https://example.com:1024/", "https://example.com:1024/"},
		"port 65535":                {strict, "https://example.com:65535/", "https://example.com:65535/"},
		"upper case":                {strict, "HTTPS://Example.COM/A", "https://example.com/A"},
		"trailing dot":              {strict, "https://example.com./", "https://example.com./"},
		"underscore":                {strict, "https://my_host.example.com/", "https://my_host.example.com/"},
		"international":             {strict, "https://bücher.example/", "https://xn--bcher-kva.example/"},
		"punycode":                  {strict, "https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"},
		"public IPv4":               {strict, "https://93.184.216.34/", "https://93.184.216.34/"},
		"public IPv6":               {strict, "https://[2606:4700::1111]:8443/", "https://[2606:4700::1111]:8443/"},
		"IPv6 in a long form":       {strict, "https://[2606:4700:0:0:0:0:0:1111]/", "https://[2606:4700::1111]/"},
		"digits before the domain":  {strict, "https://127.0.0.1.example.com/", "https://127.0.0.1.example.com/"},
		"http where allowed":        {local, "http://example.com/", "http://example.com/"},
		"http port 80":              {local, "http://example.com:80/", "http://example.com:80/"},
		"loopback where allowed":    {local, "http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"},
		"loopback IPv6":             {local, "http://[::1]:8080/x", "http://[::1]:8080/x"},
		"localhost where allowed":   {local, "http://localhost:8080/x", "http://localhost:8080/x"},
		"a name under .localhost":   {local, "http://app.localhost:8080/", "http://app.localhost:8080/"},
		"mapped loopback, allowed":  {local, "http://[::ffff:127.0.0.1]:8080/", "http://[::ffff:127.0.0.1]:8080/"},
		"ends like a local name":    {strict, "https://my.notlocal/x", "https://my.notlocal/x"},
		"local in front of a name":  {strict, "https://local.example.com/", "https://local.example.com/"},
		"international dot variant": {strict, "https://example。com/", "https://example.com/"},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := tt.policy.CheckURL(tt.raw)
			if err != nil {
				t.Fatalf("CheckURL(%q): %v", tt.raw, err)
			}
			if u.String() != tt.want {
				t.Errorf("CheckURL(%q) = %s, want %s", tt.raw, u, tt.want)
			}
		})
	}
}

func TestCheckURLRefuses(t *testing.T) {
	noLoopback := egress.Policy{AllowNetworks: networks("10.0.0.0/8"), AllowHTTP: true}
	for name, tt := range map[string]struct {
		policy egress.Policy
		raw    string
		code   string
		words  string
	}{
		"empty":                    {strict, "", egress.CodeURL, "https://"},
		"http":                     {strict, "http://example.com/", egress.CodeURL, "https://"},
		"other scheme":             {local, "ftp://example.com/", egress.CodeURL, "https://"},
		"no scheme":                {strict, "//example.com/", egress.CodeURL, "https://"},
		"a path":                   {strict, "/hooks", egress.CodeURL, "https://"},
		"opaque":                   {strict, "https:example.com", egress.CodeURL, "host"},
		"no host":                  {strict, "https:///path", egress.CodeURL, "host"},
		"only a port":              {strict, "https://:8443/", egress.CodeURL, "not a valid domain name"},
		"user and password":        {strict, "https://user:pass@example.com/", egress.CodeURL, "password"},
		"empty user":               {strict, "https://@example.com/", egress.CodeURL, "password"},
		"fragment":                 {strict, "https://example.com/#top", egress.CodeURL, "fragment"},
		"empty fragment":           {strict, "https://example.com/#", egress.CodeURL, "fragment"},
		"control character":        {strict, "https://example.com/\r\nHost: x", egress.CodeURL, "control character"},
		"backslash":                {strict, `https://example.com\@169.254.169.254/`, egress.CodeURL, "backslash"},
		"backslash host":           {strict, `https://example.com\.evil.com/`, egress.CodeURL, "backslash"},
		"port 22":                  {strict, "https://example.com:22/", egress.CodeURL, "port 22"},
		"port 80 for https":        {local, "https://example.com:80/", egress.CodeURL, "port 80"},
		"port 1023":                {strict, "https://example.com:1023/", egress.CodeURL, "port 1023"},
		"port 0":                   {strict, "https://example.com:0/", egress.CodeURL, "port 0"},
		"port too large":           {strict, "https://example.com:65536/", egress.CodeURL, "65535"},
		"port with a zero":         {strict, "https://example.com:0443/", egress.CodeURL, "0443"},
		"empty port":               {strict, "https://example.com:/", egress.CodeURL, "no port"},
		"decimal host":             {strict, "https://2130706433/", egress.CodeURL, "unusual form"},
		"hexadecimal host":         {strict, "https://0x7f000001/", egress.CodeURL, "unusual form"},
		"hexadecimal parts":        {strict, "https://0x7f.1/", egress.CodeURL, "unusual form"},
		"hexadecimal last":         {strict, "https://127.0.0.0x1/", egress.CodeURL, "unusual form"},
		"octal parts":              {strict, "https://0177.0.0.1/", egress.CodeURL, "unusual form"},
		"short form":               {strict, "https://127.1/", egress.CodeURL, "unusual form"},
		"five parts":               {strict, "https://1.2.3.4.5/", egress.CodeURL, "unusual form"},
		"address, trailing dot":    {strict, "https://127.0.0.1./", egress.CodeURL, "unusual form"},
		"unusual though allowed":   {local, "https://127.1/", egress.CodeURL, "unusual form"},
		"full-width digits":        {strict, "https://１２７.0.0.1/", egress.CodeAddress, "loopback"},
		"loopback":                 {strict, "https://127.0.0.1/", egress.CodeAddress, "loopback"},
		"metadata":                 {strict, "https://169.254.169.254/latest", egress.CodeAddress, "link-local"},
		"mapped private":           {strict, "https://[::ffff:10.0.0.1]/", egress.CodeAddress, "10.0.0.1"},
		"IPv6 loopback":            {strict, "https://[::1]/", egress.CodeAddress, "loopback"},
		"IPv6 zone":                {local, "https://[fe80::1%25eth0]/", egress.CodeURL, "interface"},
		"IPv4 in brackets":         {local, "https://[127.0.0.1]/", egress.CodeURL, ""},
		"single label":             {strict, "https://intranet/", egress.CodeURL, "local name"},
		"single label, dot":        {strict, "https://intranet./", egress.CodeURL, "local name"},
		"localhost":                {strict, "https://localhost/", egress.CodeURL, "local name"},
		"localhost, no loopback":   {noLoopback, "http://localhost:8080/", egress.CodeURL, "local name"},
		"localhost, dot":           {strict, "https://localhost./", egress.CodeURL, "local name"},
		"under localhost":          {strict, "https://a.localhost/", egress.CodeURL, "local name"},
		"localdomain":              {local, "https://a.localdomain/", egress.CodeURL, "local name"},
		"local":                    {local, "https://printer.local/", egress.CodeURL, "local name"},
		"local, dot":               {local, "https://printer.LOCAL./", egress.CodeURL, "local name"},
		"internal":                 {local, "https://metadata.google.internal/", egress.CodeURL, "local name"},
		"two trailing dots":        {strict, "https://example.com../", egress.CodeURL, "valid domain name"},
		"empty label":              {strict, "https://a..example.com/", egress.CodeURL, "valid domain name"},
		"label of 64":              {strict, "https://" + strings.Repeat("a", 64) + ".com/", egress.CodeURL, "valid domain name"},
		"name of 254":              {strict, "https://" + strings.Repeat("a.", 126) + "co/", egress.CodeURL, "valid domain name"},
		"hyphen in front":          {strict, "https://-a.example.com/", egress.CodeURL, "valid domain name"},
		"bad characters":           {strict, "https://exam!ple.com/", egress.CodeURL, "valid domain name"},
		"bad punycode":             {strict, "https://xn--zzzz9999999.example/", egress.CodeURL, "international"},
		"bad international":        {strict, "https://\u200dx.example/", egress.CodeURL, "international"},
		"an international local":   {strict, "https://printer.ｌｏｃａｌ/", egress.CodeURL, "local name"},
		"an international dot, IP": {strict, "https://127。0。0。1/", egress.CodeAddress, "loopback"},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := tt.policy.CheckURL(tt.raw)
			var refusal *egress.Error
			if !errors.As(err, &refusal) {
				t.Fatalf("CheckURL(%q) = %v, %v, want a refusal", tt.raw, u, err)
			}
			if refusal.Code != tt.code || !strings.Contains(refusal.Reason, tt.words) {
				t.Errorf("CheckURL(%q): %s: %s, want %s: ...%s...", tt.raw, refusal.Code, refusal.Reason, tt.code, tt.words)
			}
			if u != nil {
				t.Errorf("CheckURL(%q) returned %s beside its refusal", tt.raw, u)
			}
		})
	}
}

func TestRefusalKeepsSecrets(t *testing.T) {
	for _, raw := range []string{"https://user:hunter2@example.com/", "ftp://example.com/?token=hunter2", "https://ex ample.com/?token=hunter2"} {
		if _, err := strict.CheckURL(raw); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("CheckURL(%q): %v, want a refusal without the secret", raw, err)
		}
	}
}

func TestCheckAddr(t *testing.T) {
	for _, s := range []string{
		"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.100.100.200", "100.127.255.255",
		"127.0.0.1", "127.255.255.255", "168.63.129.16", "169.254.0.1", "169.254.169.254", "172.16.0.0", "172.31.255.255",
		"192.0.0.1", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.168.255.255",
		"192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
		"240.0.0.1", "255.255.255.255",
		"::", "::1", "::2", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "64:ff9c::1", "100::1", "100:0:0:1::1", "200::1", "1fff::1",
		"2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:20::1", "2001:1ff::1", "2001:db8::1",
		"2002:7f00:1::", "2002:808:808::1", "2620:4f:8000::1", "3ffe::1", "3fff::1", "3fff:fff::1", "4000::1", "5f00::1",
		"fc00::1", "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	} {
		err := strict.CheckAddr(netip.MustParseAddr(s))
		var refusal *egress.Error
		if !errors.As(err, &refusal) || refusal.Code != egress.CodeAddress {
			t.Errorf("CheckAddr(%s) = %v, want %s", s, err, egress.CodeAddress)
		}
	}
	for _, s := range []string{
		"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "168.63.129.17",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0",
		"198.17.255.255", "198.20.0.0", "223.255.255.255", "::ffff:8.8.8.8",
		"2000::1", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111", "2a00:1450::1", "3fff:1000::1",
	} {
		if err := strict.CheckAddr(netip.MustParseAddr(s)); err != nil {
			t.Errorf("CheckAddr(%s) = %v, want nil", s, err)
		}
	}
}

func TestCheckAddrAllowed(t *testing.T) {
	policy := egress.Policy{AllowNetworks: networks("10.1.0.0/16, fd00:1::/32")}
	for s, allowed := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.0": false, "fd00:1::5": true, "fd00:2::5": false, "8.8.8.8": true, "127.0.0.1": false,
	} {
		if err := policy.CheckAddr(netip.MustParseAddr(s)); (err == nil) != allowed {
			t.Errorf("CheckAddr(%s) = %v, want allowed %v", s, err, allowed)
		}
	}
	for _, a := range []netip.Addr{{}, netip.MustParseAddr("fd00:1::5%eth0")} {
		if err := policy.CheckAddr(a); err == nil {
			t.Errorf("CheckAddr(%v) = nil, want a refusal", a)
		}
	}
}

func TestParseNetworks(t *testing.T) {
	for s, want := range map[string]string{
		"":                        "",
		" , ":                     "",
		"127.0.0.0/8":             "127.0.0.0/8",
		"127.0.0.0/8, ::1/128,":   "127.0.0.0/8 ::1/128",
		"10.1.2.3":                "10.1.2.3/32",
		"0.0.0.0/0,::/0":          "0.0.0.0/0 ::/0",
		"10.1.2.3/8":              "error",
		"10.0.0.0/33":             "error",
		"localhost":               "error",
		"::ffff:10.0.0.0/104":     "error",
		"fe80::1%eth0":            "error",
		"10.0.0.0/8;172.16.0.0/1": "error",
	} {
		got, err := egress.ParseNetworks(s)
		var texts []string
		for _, n := range got {
			texts = append(texts, n.String())
		}
		if result := strings.Join(texts, " "); (err != nil) != (want == "error") || err == nil && result != want {
			t.Errorf("ParseNetworks(%q) = %q, %v, want %q", s, result, err, want)
		}
	}
}
