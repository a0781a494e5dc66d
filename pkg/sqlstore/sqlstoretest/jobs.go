package sqlstoretest

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

// NewJob is a job with every field set but those of its end.
func NewJob(of string) sqlstore.Job {
	return sqlstore.Job{
		ID: uuid.Must(uuid.NewV7()).String(), Tenant: of, WebhookID: uuid.NewString(), Kind: sqlstore.JobRelease,
		Selection: sqlstore.Selection{
			Before:     map[int32]int64{0: 1 << 40, 3: 0},
			RunsBefore: map[int32]int64{1: 1 << 41}, Statuses: []delivery.Status{delivery.Exhausted}, Since: now.Add(2), Until: now.Add(3),
			EventTypes: []string{"card.*"}, DeliveryIDs: []string{"a", "b"}, Reason: "paused", SuspendedFrom: now, SuspendedTo: now.Add(1),
		},
		Status: sqlstore.JobWaiting, RequestedBy: "key", CreatedAt: now, UpdatedAt: now,
	}
}

func createJob(t *testing.T, s *sqlstore.Store, j sqlstore.Job) sqlstore.Job {
	t.Helper()
	j, err := s.CreateJob(context.Background(), By(), j)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func jobWhole(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	if _, err := s.CreateJob(ctx, By(), NewJob("acme")); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("a job of a tenant that never was: %v, want ErrNotFound", err)
	}
	if err := s.EnsureTenant(ctx, By(), "acme", now); err != nil {
		t.Fatal(err)
	}
	ended := NewJob("acme")
	ended.Kind, ended.Status, ended.Error, ended.Changed, ended.Skipped = sqlstore.JobDiscard, sqlstore.JobFailed, "a fault ✓", 1<<40, sqlstore.Skips{Gone: 2, Unreadable: 1 << 40}
	ended.Selection, ended.FinishedAt = sqlstore.Selection{}, now.Add(1)
	for _, j := range []sqlstore.Job{NewJob("acme"), ended} {
		want := createJob(t, s, j)
		if got, err := s.Job(ctx, "acme", j.ID); err != nil || want.Version != 1 || !cmp.Equal(want, got) {
			t.Errorf("read back: %v (-want +got):\n%s", err, cmp.Diff(want, got))
		}
		if _, err := s.Job(ctx, "other", j.ID); !errors.Is(err, sqlstore.ErrNotFound) {
			t.Errorf("read by another tenant: %v, want ErrNotFound", err)
		}
	}
	if got, _ := changes(t, s); len(got) != 1 {
		t.Errorf("the outbox holds %v: nobody is told of jobs", got)
	}
}

func jobVersion(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	if err := s.EnsureTenant(ctx, By(), "acme", now); err != nil {
		t.Fatal(err)
	}
	first := createJob(t, s, NewJob("acme"))
	j := first
	j.Status, j.Total, j.Changed, j.Skipped, j.Error, j.UpdatedAt, j.FinishedAt = sqlstore.JobDone, 8, 7, sqlstore.Skips{Gone: 1}, "e", now.Add(1), now.Add(2)
	want, err := s.UpdateJob(ctx, j)
	if err != nil || want.Version != 2 {
		t.Fatalf("update: version %d, %v", want.Version, err)
	}
	if got, _ := s.Job(ctx, "acme", j.ID); !cmp.Equal(want, got) {
		t.Errorf("read back (-want +got):\n%s", cmp.Diff(want, got))
	}
	other := want
	other.Tenant = "other"
	for name, tt := range map[string]struct {
		of   sqlstore.Job
		want error
	}{
		"of version 1 again": {first, sqlstore.ErrConflict}, "by another tenant": {other, sqlstore.ErrNotFound},
		"of what never was": {NewJob("acme"), sqlstore.ErrNotFound},
	} {
		if _, err := s.UpdateJob(ctx, tt.of); !errors.Is(err, tt.want) {
			t.Errorf("update %s: %v, want %v", name, err, tt.want)
		}
	}
	asked := want
	asked.WebhookID, asked.Kind, asked.Selection, asked.RequestedBy, asked.CreatedAt = "x", "y", sqlstore.Selection{}, "z", now.Add(time.Hour)
	if _, err := s.UpdateJob(ctx, asked); err != nil {
		t.Fatal(err)
	}
	want.Version = 3
	if got, _ := s.Job(ctx, "acme", j.ID); !cmp.Equal(want, got) {
		t.Errorf("what was asked for has changed (-want +got):\n%s", cmp.Diff(want, got))
	}
}

// jobTakenOnce has several workers take what is open: each job is one's.
func jobTakenOnce(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	if err := s.EnsureTenant(ctx, By(), "acme", now); err != nil {
		t.Fatal(err)
	}
	const jobs = 10
	for range jobs {
		createJob(t, s, NewJob("acme"))
	}
	var (
		mu    sync.Mutex
		taken = map[string]int{}
		wg    sync.WaitGroup
	)
	for range 4 {
		wg.Go(func() {
			open, err := s.OpenJobs(ctx, jobs)
			if err != nil {
				t.Error(err)
			}
			for _, j := range open {
				if j.Status == sqlstore.JobRunning {
					continue
				}
				j.Status = sqlstore.JobRunning
				_, err := s.UpdateJob(ctx, j)
				switch {
				case err == nil:
					mu.Lock()
					taken[j.ID]++
					mu.Unlock()
				case !errors.Is(err, sqlstore.ErrConflict):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for id, n := range taken {
		if n != 1 {
			t.Errorf("job %s was taken %d times", id, n)
		}
	}
	if len(taken) != jobs {
		t.Errorf("%d jobs were taken, want %d", len(taken), jobs)
	}
}

func jobLists(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	var open, all, finished []string
	for i, status := range []sqlstore.JobStatus{
		sqlstore.JobRunning, sqlstore.JobDone, sqlstore.JobWaiting, sqlstore.JobCancelled, sqlstore.JobWaiting, sqlstore.JobDone,
	} {
		j := NewJob([]string{"acme", "other"}[i%2])
		if err := s.EnsureTenant(ctx, By(), j.Tenant, now); err != nil {
			t.Fatal(err)
		}
		j.Status, j.CreatedAt = status, now.Add(-time.Duration(i)*time.Second) // the last is the oldest
		if status.Ended() {
			j.FinishedAt = now.Add(time.Duration(i) * time.Minute)
			finished = append(finished, j.ID)
		} else {
			open = append([]string{j.ID}, open...)
		}
		if createJob(t, s, j); j.Tenant == "acme" {
			all = append([]string{j.ID}, all...)
		}
	}
	ids := func(jobs []sqlstore.Job, err error) (out []string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			out = append(out, j.ID)
		}
		return out
	}
	if got := ids(s.OpenJobs(ctx, 10)); !cmp.Equal(open, got) {
		t.Errorf("open jobs (-want +got):\n%s", cmp.Diff(open, got))
	}
	if got := ids(s.OpenJobs(ctx, 1)); !cmp.Equal(open[:1], got) {
		t.Errorf("the oldest open job (-want +got):\n%s", cmp.Diff(open[:1], got))
	}
	if got := ids(walk(t, sqlstore.JobList(), url.Values{"limit": {"2"}}, func(q lists.Query) ([]sqlstore.Job, lists.Found, error) {
		return s.Jobs(ctx, "acme", q)
	}), nil); !cmp.Equal(all, got) {
		t.Errorf("jobs (-want +got):\n%s", cmp.Diff(all, got))
	}
	if err := s.DeleteFinishedJobs(ctx, now.Add(3*time.Minute)); err != nil { // when the second of them was finished
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, of := range []string{"acme", "other"} {
		jobs, _, err := s.Jobs(ctx, of, asked(sqlstore.JobList(), 9))
		for _, id := range ids(jobs, err) {
			left[id] = true
		}
	}
	if left[finished[0]] || !left[finished[1]] || !left[finished[2]] || len(left) != 5 {
		t.Errorf("%v are left, want all but %s", left, finished[0])
	}
}
