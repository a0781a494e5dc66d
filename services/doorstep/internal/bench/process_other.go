//go:build !linux

package bench

import (
	"runtime"
	"syscall"
	"time"
)

// attributes are none: a bench that is killed leaves its children running.
func attributes() *syscall.SysProcAttr { return nil }

func cpuOf(int) time.Duration { return 0 }

func rssOf(int) (now, peak int64) { return 0, 0 }

func kernel() string { return runtime.GOOS }
