package credentials

import (
	"errors"
	"fmt"
	"os"

	"github.com/doorstep-dev/doorstep/pkg/seal"
)

// SealingKeys are the keys that seal what is secret of webhooks, given by value or in a file, which is read
// at start. They do not show themselves when printed.
type SealingKeys struct {
	Keys string `name:"sealing-keys" env:"DOORSTEP_SEALING_KEYS" placeholder:"ID:BASE64" help:"Keys that seal webhooks' secrets and header values in the database and on the log, comma separated: the first seals, all of them open. Consoles and senders need the same. 'doorstep sealing-key' prints a new one. Empty: secrets are stored as they are. Prefer the environment or the file: a flag can be seen by other users of the machine."`
	File string `name:"sealing-keys-file" env:"DOORSTEP_SEALING_KEYS_FILE" type:"path" placeholder:"FILE" help:"File with these keys instead, one a line; # begins a comment. Read at start."`
}

// Validate says what is wrong with keys that are given by value, or that they are given in two ways.
func (s SealingKeys) Validate() error {
	if s.Keys == "" {
		return nil
	}
	if s.File != "" {
		return errors.New("sealing-keys: also given by sealing-keys-file; only one can be meant")
	}
	if _, err := seal.Parse(s.Keys); err != nil {
		return fmt.Errorf("sealing-keys: %w", err)
	}
	return nil
}

// Given reports whether there are any.
func (s SealingKeys) Given() bool { return s.Keys != "" || s.File != "" }

// Read returns the keys, none if none are given, and what to warn the operator of; empty: nothing.
func (s SealingKeys) Read() (keys seal.Keys, warning string, err error) {
	if err := s.Validate(); err != nil || s.File == "" && s.Keys == "" {
		return seal.Keys{}, "", err
	}
	if s.File == "" {
		keys, err = seal.Parse(s.Keys)
		return keys, "", err
	}
	b, err := os.ReadFile(s.File)
	if err != nil {
		return seal.Keys{}, "", fmt.Errorf("sealing-keys-file: %w", err)
	}
	if keys, err = seal.Parse(string(b)); err != nil {
		return seal.Keys{}, "", fmt.Errorf("sealing-keys-file: %s: %w", s.File, err)
	}
	const byAll = 0o004
	if info, err := os.Stat(s.File); err == nil && info.Mode().Perm()&byAll != 0 {
		warning = fmt.Sprintf("every user of this machine may read the sealing keys in %s; make its mode 0400 or 0440", s.File)
	}
	return keys, warning, nil
}

func (s SealingKeys) String() string { return "sealing-keys (hidden)" }

// GoString is String for %#v.
func (s SealingKeys) GoString() string { return s.String() }
