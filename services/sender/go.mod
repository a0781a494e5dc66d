module github.com/doorstep-dev/doorstep/services/sender

go 1.26.0

require (
	github.com/doorstep-dev/doorstep/pkg v0.0.0
	github.com/doorstep-dev/doorstep/proto v0.0.0
)

replace (
	github.com/doorstep-dev/doorstep/pkg => ../../pkg
	github.com/doorstep-dev/doorstep/proto => ../../proto
)
