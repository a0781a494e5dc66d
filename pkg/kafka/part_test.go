package kafka

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// held is a partition of which records 0 to n-1 are started.
func held(t *testing.T, n int64) *Part {
	t.Helper()
	p := &Part{Topic: "t", tracker: newTracker(0, "")}
	for o := range n {
		if !p.Start(o) {
			t.Fatalf("record %d is not taken in hand", o)
		}
	}
	return p
}

func TestPartCommitsBehindFinishedWork(t *testing.T) {
	p := held(t, 3)
	for _, step := range []struct {
		what   string
		do     func()
		offset int64 // -1: nothing to commit
	}{
		{"started", func() {}, 0},
		{"nothing since", func() {}, -1},
		{"begun", func() { p.Begin(); p.Begin(); p.Begin() }, -1},
		{"the second is done", func() { p.Done(1) }, 0},
		{"the third is given up", p.GiveUp, -1},
		{"the first is done", func() { p.Done(0) }, 2},
		{"a commit that failed", p.touch, 2},
	} {
		step.do()
		if offset, _, changed := p.commit(); changed != (step.offset >= 0) || changed && offset != step.offset {
			t.Errorf("%s: commit %d (%v), want %d", step.what, offset, changed, step.offset)
		}
	}
}

func TestPartThatIsGoneTakesNothingUp(t *testing.T) {
	p := held(t, 2)
	if !p.Begin() || p.Gone() {
		t.Fatal("gone before it is lost")
	}
	p.lose()
	if p.Begin() || p.Start(2) || !p.Gone() {
		t.Error("work begins on a partition that is gone")
	}
	p.Done(0) // what had begun still counts
	if offset, _, changed := p.commit(); !changed || offset != 1 {
		t.Errorf("commit %d (%v), want 1", offset, changed)
	}
}

// Who waits for room is told once there is a good deal of it, and not before.
func TestPartSaysOnceThatThereIsRoom(t *testing.T) {
	p := held(t, maxOpen)
	told := []int64{}
	for round := range int64(2) {
		if !p.Full() {
			t.Fatal("not full")
		}
		for o := range int64(maxOpen / 2) {
			p.Begin()
			if p.Done(round*maxOpen/2 + o) {
				told = append(told, o)
			}
		}
		for o := range int64(maxOpen / 2) {
			p.Start(maxOpen + round*maxOpen/2 + o)
		}
	}
	if want := []int64{maxOpen / 4, maxOpen / 4}; !slices.Equal(told, want) {
		t.Errorf("told at %v, want %v", told, want)
	}
}

func TestPartIsFullAtItsBoundAndNotBefore(t *testing.T) {
	p := held(t, maxOpen-1)
	if p.Full() {
		t.Error("full before its bound")
	}
	p.Start(maxOpen)
	if !p.Full() {
		t.Error("not full at its bound")
	}
	p.Begin()
	p.Done(5)
	if p.Full() {
		t.Error("full although a record is done")
	}
}

func TestPartDrains(t *testing.T) {
	for name, tt := range map[string]struct {
		begin int
		end   func(*Part)
		want  time.Duration
	}{
		"nothing begun":         {0, func(*Part) {}, 0},
		"done":                  {1, func(p *Part) { p.Done(0) }, time.Second},
		"given up":              {1, (*Part).GiveUp, time.Second},
		"only one of two ended": {2, func(p *Part) { p.Done(0) }, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := held(t, 2)
				for range tt.begin {
					p.Begin()
				}
				p.lose()
				if tt.begin > 0 {
					time.AfterFunc(time.Second, func() { tt.end(p) })
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began := time.Now()
				p.drain(ctx)
				if took := time.Since(began); took != tt.want {
					t.Errorf("took %s, want %s", took, tt.want)
				}
			})
		})
	}
}
