// Package order carries out what the server has ordered.
package order

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/gild-dev/gild/internal/agent/handoff"
	"github.com/gild-dev/gild/internal/agent/newids"
	"github.com/gild-dev/gild/internal/agent/report"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/flash"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/oci"
	"github.com/gild-dev/gild/internal/units"
)

// Job is the flash that a plan orders, from the plan to the receipt.
type Job struct {
	Target  Target
	Report  *report.Reporter
	Session *report.Session
	Source  *oci.Ranges // of the image's disk; nil before the image is known
	Result  Result

	sealed   string         // plan whose flash has succeeded
	recorder *recorder      // of the flash under way; the engine's listener has it
	ids      *newids.Change // of that flash; nil before there is one
}

// New is a job on a machine that has no plan yet.
func New(host Host, r *report.Reporter, s *report.Session, log *slog.Logger) *Job {
	return &Job{Target: Target{Host: host, Session: s, Log: log}, Report: r, Session: s}
}

// accept checks a plan before anything is done about it.
func (j *Job) accept(answer api.Answer) (string, error) {
	p := answer.Plan
	if p == nil || p.ID == "" {
		return "", errors.New("the server asks for a flash and sends no plan")
	}
	if _, err := golden.ParseDigest(p.Image.Digest); err != nil {
		return "", fmt.Errorf("plan %.80q: %w", p.ID, err)
	}
	if err := golden.CheckRepository(p.Image.Repository); err != nil {
		return "", fmt.Errorf("plan %.80q: %w", p.ID, err)
	}
	if _, err := handoff.Ways(p.Handoff); err != nil {
		return "", fmt.Errorf("plan %.80q: %w", p.ID, err)
	}
	if _, err := ParseVerify(p.ReadBack); err != nil {
		return "", fmt.Errorf("plan %.80q: %w", p.ID, err)
	}
	// What follows is reported under this plan, also that it is for another
	// machine.
	j.Session.Queue.Under(p.ID)
	if err := j.Target.isThisMachine(p); err != nil {
		return "", err
	}
	if j.Target.Plan == nil || j.Target.Plan.ID != p.ID || j.Target.Plan.Image != p.Image {
		j.Target.Image, j.Source = nil, nil
	}
	j.Target.Plan = p
	j.Session.Permit.Grant(p.ID)
	return fmt.Sprintf("image %.100s (%s)", p.Image.Name, golden.Digest(p.Image.Digest).Short()), nil
}

// ParseVerify reads how much of the disk is read back; empty means all of it.
func ParseVerify(s string) (flash.Verify, error) {
	if s == "" {
		return flash.VerifyFull, nil
	}
	return flash.ParseVerify(s)
}

// PullImage fetches everything small of the image and checks all of it
// against the plan's digest: nothing is written before this has succeeded.
func (j *Job) PullImage(ctx context.Context) (string, error) {
	if j.Target.Image == nil {
		image, err := golden.Pull(ctx, j.registry(), j.Target.Plan.Image.Repository, golden.Digest(j.Target.Plan.Image.Digest))
		if err != nil {
			return "", err
		}
		j.Use(image)
	}
	if err := j.canClone(); err != nil {
		return "", err
	}
	t := j.Target.Image.Table
	return fmt.Sprintf("a disk of %s with %s of data, %s to fetch",
		units.Bytes(t.DiskSize), units.Bytes(t.DataSize()), units.Bytes(t.BlobSize())), nil
}

func (j *Job) registry() *oci.Registry { return oci.Of(j.Session.Client.Servers) }

// Use makes an image the one that is flashed.
func (j *Job) Use(image *golden.Image) {
	j.Target.Image = image
	j.Source = j.registry().Ranges(j.Target.Plan.Image.Repository, string(image.Disk.Digest), image.Disk.Size)
}
