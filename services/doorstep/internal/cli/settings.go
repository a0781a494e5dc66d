package cli

import (
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

// Settings without their methods: kong would call Validate on each part as it is parsed, before
// the parts that it needs (such as the embedded log's address) are put in.
type (
	kafkaSettings kafka.Config
	redisSettings redisstate.Config
	sqlSettings   sqlstore.Config
)
