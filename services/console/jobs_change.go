package console

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

// JobPatch changes a job.
type JobPatch struct {
	Status sqlstore.JobStatus `json:"status" enum:"paused,running" doc:"paused: it rests until it is resumed, and jobs behind it go on. running: resume it; it is waiting until a console takes it up"`
}

func (s *Service) patchJob(ctx context.Context, in *idRawInput) (*output[Job], error) {
	var patch JobPatch
	f := decode(in.RawBody, &patch, "")
	if len(f) == 0 && !isObject(in.RawBody) {
		f.Add("body", "must be an object")
	}
	if len(f) == 0 && patch.Status != sqlstore.JobPaused && patch.Status != sqlstore.JobRunning {
		f.Add("status", "must be paused or running")
	}
	if len(f) > 0 {
		return nil, f
	}
	return s.changeJob(ctx, in.ID, patch.Status)
}

func (s *Service) cancelJob(ctx context.Context, in *idInput) (*noOutput, error) {
	_, err := s.changeJob(ctx, in.ID, sqlstore.JobCancelled)
	return nil, err
}

func (s *Service) changeJob(ctx context.Context, id string, to sqlstore.JobStatus) (*output[Job], error) {
	c := callerOf(ctx)
	j, err := s.setJob(ctx, c.Tenant, id, to, c.Key.ID)
	if err != nil {
		return nil, err
	}
	return reply(ctx, jobView(j)), nil
}

// setJob pauses, resumes (running) or cancels a tenant's job, and returns it as it is then, also if it was so before;
// by is the id of an API key. It errs with ErrNotFound, and with a 409 if the job has ended otherwise.
func (s *Service) setJob(ctx context.Context, of, id string, to sqlstore.JobStatus, by string) (sqlstore.Job, error) {
	store, err := s.sql()
	if err != nil {
		return sqlstore.Job{}, err
	}
	if err := checkID(id); err != nil {
		return sqlstore.Job{}, err
	}
	return retried(func() (sqlstore.Job, error) {
		was, err := store.Job(ctx, of, strings.ToLower(id))
		if err != nil {
			return was, err
		}
		j, err := turned(was, to, time.Now().UTC())
		if err != nil || j.Status == was.Status {
			return j, err
		}
		if j, err = store.ChangeJob(ctx, authorOf(ctx), j); err != nil {
			return j, err
		}
		s.log.Info("job changed by hand", "job", j.ID, "kind", j.Kind, "webhook", j.WebhookID, "status", j.Status, "key", by)
		s.jobs.wake()
		return j, nil
	})
}

// turned is a job as a person's word makes it: paused, running or cancelled. It errs with a 409 if it has ended.
func turned(j sqlstore.Job, to sqlstore.JobStatus, now time.Time) (sqlstore.Job, error) {
	if j.Status == to {
		return j, nil
	}
	if j.Status.Ended() {
		return j, conflict(string(j.Status), fmt.Sprintf("the job has ended (%s), so there is nothing left to %s", j.Status, map[sqlstore.JobStatus]string{
			sqlstore.JobPaused: "pause", sqlstore.JobRunning: "resume", sqlstore.JobCancelled: "cancel",
		}[to]))
	}
	switch {
	case to == sqlstore.JobCancelled:
		j.FinishedAt = now
	case to == sqlstore.JobRunning && j.Status == sqlstore.JobPaused:
		to = sqlstore.JobWaiting // until a worker takes it up
	case to == sqlstore.JobRunning:
		return j, nil
	}
	j.Status, j.Error, j.UpdatedAt = to, "", now
	return j, nil
}
