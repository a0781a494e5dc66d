package bench_test

import (
	"log/slog"
	"os"
	"strconv"
	"testing"

	"github.com/doorstep-dev/doorstep/services/doorstep/internal/bench"
)

// The bench itself must not rot: a short run sends everything once and measures something.
func TestRun(t *testing.T) {
	n := 500
	if s := os.Getenv("BENCH_N"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	report, err := bench.Run(t.Context(), bench.Config{
		Deliveries: n, Rounds: 3, Webhooks: 10, BodyBytes: 1024, InFlight: 64, Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.DrainRatio[0] <= 0 {
		t.Errorf("nothing measured: %+v", report)
	}
	t.Logf("%+v", report)
}
