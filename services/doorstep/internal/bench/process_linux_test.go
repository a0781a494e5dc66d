package bench

import (
	"testing"
	"time"
)

// What /proc says is read as proc(5) describes it, also for a program with an odd name.
func TestProc(t *testing.T) {
	stat := "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 100 1000 10"
	if got := statCPU([]byte(stat)); got != 3*time.Second {
		t.Errorf("CPU %s", got)
	}
	if got := statCPU([]byte("42 (cut")); got != 0 {
		t.Errorf("CPU %s", got)
	}
	status := []byte("Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n")
	if now, peak := statusBytes(status, "VmRSS:"), statusBytes(status, "VmHWM:"); now != 1<<20 || peak != 2<<20 {
		t.Errorf("RSS %d, %d", now, peak)
	}
}
