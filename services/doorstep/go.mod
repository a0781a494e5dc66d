module github.com/doorstep-dev/doorstep/services/doorstep

go 1.26.0

require (
	github.com/doorstep-dev/doorstep/pkg v0.0.0
	github.com/doorstep-dev/doorstep/proto v0.0.0
	github.com/doorstep-dev/doorstep/services/console v0.0.0
	github.com/doorstep-dev/doorstep/services/ingest v0.0.0
	github.com/doorstep-dev/doorstep/services/matcher v0.0.0
	github.com/doorstep-dev/doorstep/services/sender v0.0.0
)

replace (
	github.com/doorstep-dev/doorstep/pkg => ../../pkg
	github.com/doorstep-dev/doorstep/proto => ../../proto
)

replace github.com/doorstep-dev/doorstep/services/console => ../console

replace github.com/doorstep-dev/doorstep/services/ingest => ../ingest

replace github.com/doorstep-dev/doorstep/services/matcher => ../matcher

replace github.com/doorstep-dev/doorstep/services/sender => ../sender
