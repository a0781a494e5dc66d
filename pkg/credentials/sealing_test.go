package credentials_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
)

// Keys as `openssl rand -base64 32` makes them.
const (
	firstKey  = "k1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	secondKey = "k2:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
)

func TestSealingKeys(t *testing.T) {
	file := func(content string, mode os.FileMode) string {
		name := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil { //nolint:gosec // also what should not be
			t.Fatal(err)
		}
		return name
	}
	for name, tt := range map[string]struct {
		given   credentials.SealingKeys
		ids     string
		warning string
		err     string
	}{
		"none":                    {credentials.SealingKeys{}, "[]", "", ""},
		"by value":                {credentials.SealingKeys{Keys: secondKey + "," + firstKey}, "[k2 k1]", "", ""},
		"in a file":               {credentials.SealingKeys{File: file("# keys\n"+firstKey+"\n", 0o400)}, "[k1]", "", ""},
		"in a group's file":       {credentials.SealingKeys{File: file(firstKey, 0o440)}, "[k1]", "", ""},
		"in a file that all read": {credentials.SealingKeys{File: file(firstKey, 0o444)}, "[k1]", "every user of this machine may read", ""},
		"in both ways":            {credentials.SealingKeys{Keys: firstKey, File: "f"}, "[]", "", "sealing-keys: also given by sealing-keys-file"},
		"a wrong value":           {credentials.SealingKeys{Keys: firstKey + "A"}, "[]", "", "sealing-keys: line 1: what follows the id"},
		"a wrong file":            {credentials.SealingKeys{File: file("\n"+firstKey+"A", 0o400)}, "[]", "", "keys: line 2: what follows the id"},
		"an empty file":           {credentials.SealingKeys{File: file("", 0o400)}, "[]", "", "there is no key"},
		"a missing file":          {credentials.SealingKeys{File: "/missing"}, "[]", "", "sealing-keys-file: open /missing"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, warning, err := tt.given.Read()
			if tt.err == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("%v, want %q", err, tt.err)
			}
			if err != nil && strings.Contains(err.Error(), "AQEB") {
				t.Errorf("the error holds the key: %v", err)
			}
			if got := fmt.Sprint(keys.IDs()); got != tt.ids || tt.warning == "" != (warning == "") || !strings.Contains(warning, tt.warning) {
				t.Errorf("keys %s, warning %q", got, warning)
			}
			if err := tt.given.Validate(); tt.given.Keys != "" && (err == nil) != (tt.err == "") {
				t.Errorf("before the start: %v", err)
			}
		})
	}
}

func TestSealingKeysHide(t *testing.T) {
	s := credentials.SealingKeys{Keys: firstKey}
	for _, shown := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), fmt.Sprint([]credentials.SealingKeys{s})} {
		if strings.Contains(shown, "AQEB") {
			t.Errorf("shown: %s", shown)
		}
	}
}
