package cli

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/seal"
)

type sealingKeyCmd struct {
	ID string `name:"id" placeholder:"ID" help:"The key's name, stored beside all that it seals: 1 to 32 of a-z, 0-9, '.', '_' and '-'. Default: k and today's date."`
}

// Run prints a new sealing key as DOORSTEP_SEALING_KEYS and the file take it.
func (c *sealingKeyCmd) Run(streams IO) error {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never errs
	id := c.ID
	if id == "" {
		id = time.Now().UTC().Format("k20060102")
	}
	key, err := seal.New(id, random)
	if err != nil {
		return usageError{fmt.Errorf("--id: %w", err)}
	}
	_, err = fmt.Fprint(streams.Out, key.Text())
	return err
}
