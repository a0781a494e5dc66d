package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// attributes make a child end with the bench, whatever ends that, and keep a terminal's Ctrl-C from it: the bench
// stops its children in order.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// tick is the unit of times in /proc, the same on all of Linux (USER_HZ).
const tick = 10 * time.Millisecond

func cpuOf(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return statCPU(b)
}

// statCPU reads utime and stime, fields 14 and 15 of proc(5)'s stat. The second field, a name in brackets, may hold anything.
func statCPU(stat []byte) time.Duration {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // from the third on
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(string(fields[11]), 10, 64)
	system, _ := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * tick
}

func rssOf(pid int) (now, peak int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	return statusBytes(b, "VmRSS:"), statusBytes(b, "VmHWM:")
}

// statusBytes reads a line of proc(5)'s status that says "NAME   123 kB".
func statusBytes(status []byte, name string) int64 {
	for line := range bytes.Lines(status) {
		if value, found := bytes.CutPrefix(line, []byte(name)); found {
			kib, _ := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(value), []byte(" kB"))), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// kernel is the system's release.
func kernel() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return "Linux " + string(bytes.TrimSpace(b))
}
