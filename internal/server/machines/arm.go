package machines

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/clone"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
	"github.com/gild-dev/gild/internal/server/fleet/view"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
	"github.com/gild-dev/gild/internal/server/sniff"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/docs"
	"github.com/gild-dev/gild/internal/settings"
)

// Kinds of documents.
const (
	kindGroup = "group"
	// KindIdentity is of the identities that an apply stores.
	KindIdentity = "identity"
	// KindPlanIdentity is of those of the plans that machines are armed with.
	// They hold secrets, so they are apart from the records, and go when the arm
	// ends.
	KindPlanIdentity = "plan-identity"
)

const imageHelp = "gild image ls shows the stored images"

// order is an arm in the making: everything that is looked up before the
// transaction.
type order struct {
	id        string
	request   api.FlashRequest // as it came
	groups    []api.Group
	image     api.Image
	known     []string
	expires   int       // where the request does not say it
	listening time.Time // since when this server hears machines
}

// armExpires is how long an arm stands where nothing says it, in seconds: one
// that is forgotten should not erase a machine that boots a month later.
const armExpires = 24 * 60 * 60

// order looks up what an arm of a machine takes.
func (s Operators) order(ctx context.Context, spelling string, f api.FlashRequest) (o order, m fleet.Record, err error) {
	found, err := s.named(ctx, spelling)
	if err != nil {
		return o, m, err
	}
	if !found.Known {
		if !f.Unseen {
			return o, m, &fleet.UnknownError{
				What: "machine", Name: spelling,
				Help: listHelp + "; to arm one before its first boot, say so (--unseen)",
			}
		}
		if _, err := wire.ParseMAC(spelling); err != nil {
			return o, m, &fleet.InvalidError{Problem: err.Error(), Help: listHelp}
		}
	}
	o = order{id: found.ID, request: f, expires: cmp.Or(s.Expires, armExpires), listening: s.room.since()}
	if m, err = s.Store.Get(ctx, o.id); errors.Is(err, state.ErrNotFound) {
		m, err = fleet.Record{ID: o.id, MAC: o.id}, nil
	}
	if err != nil {
		return o, m, err
	}
	groups, err := docs.List[api.Group](ctx, s.Store.Space, kindGroup)
	if err != nil {
		return o, m, err
	}
	for _, g := range groups {
		o.groups = append(o.groups, g)
	}
	p, _, err := o.proposal(m)
	if err != nil {
		return o, m, err
	}
	if o.image, err = s.image(ctx, p.Request.Image); err != nil {
		return o, m, err
	}
	events, err := s.Store.Events(ctx, o.id)
	for _, e := range events {
		if e.Receipt != nil {
			o.known = append(o.known, view.Known(*e.Receipt)...)
		}
	}
	slices.Sort(o.known)
	o.known = slices.Compact(o.known)
	return o, m, err
}

// proposal fills in what the machine and its groups say. values are for the
// templates of its identity.
func (o order) proposal(m fleet.Record) (p view.Proposal, values map[string]string, err error) {
	f, values, err := specs.Resolve(m.Spec, o.groups, o.request)
	if err != nil {
		return p, nil, &fleet.InvalidError{Problem: err.Error(), Help: "say it in the request, or mend the groups with gild apply"}
	}
	f.Expires = cmp.Or(f.Expires, o.expires)
	f.ReadBack, f.Handoff = cmp.Or(f.ReadBack, "full"), cmp.Or(f.Handoff, o.image.Handoff, api.HandoffAuto)
	if f.Confirm == nil {
		f.Confirm = &settings.Confirm{}
	}
	if f.Image == "" {
		return p, nil, &fleet.InvalidError{Problem: "no image is named", Help: imageHelp}
	}
	err = specs.CheckSettings(f.Settings)
	return view.Proposal{Machine: m, Image: o.image, Request: f, Known: o.known, Listening: o.listening}, values, err
}

func (s *Core) image(ctx context.Context, name string) (api.Image, error) {
	im, err := s.Images.Describe(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		err = &fleet.UnknownError{What: "image", Name: name, Help: imageHelp}
	}
	return im, err
}

// Preview tells what Flash would do, and does nothing.
func (s Operators) Preview(ctx context.Context, spelling string, f api.FlashRequest) (api.Preview, error) {
	o, m, err := s.order(ctx, spelling, f)
	if err != nil {
		return api.Preview{}, err
	}
	p, values, err := o.proposal(m)
	if err != nil {
		return api.Preview{}, err
	}
	identity, has, err := s.render(ctx, p, values, "")
	p.NewIDs, p.NoHost = identity.NewIDs, has && identity.Hostname == ""
	v, _ := p.Preview(s.now())
	boots, refused := s.boots(p)
	v.Boots = boots
	if err = cmp.Or(err, refused); err != nil && v.Refusal == "" {
		v.Refusal = err.Error()
	}
	return v, nil
}

// Flash arms a machine. The image's name is turned into its digest here and
// now, and pinned, and the identity is rendered: what becomes of either later
// does not matter.
func (s Operators) Flash(ctx context.Context, actor, spelling string, f api.FlashRequest) (api.Machine, error) {
	o, m, err := s.order(ctx, spelling, f)
	if err != nil {
		return api.Machine{}, err
	}
	s.arming.RLock()
	defer s.arming.RUnlock()
	digest := golden.Digest(o.image.Digest)
	if err := s.pin(ctx, digest); err != nil {
		return api.Machine{}, err
	}
	p, values, err := o.proposal(m)
	if err != nil {
		return api.Machine{}, err
	}
	boots, err := s.boots(p)
	if err != nil {
		return api.Machine{}, err
	}
	if _, refused := p.Preview(s.now()); refused != nil {
		return api.Machine{}, refused
	}
	armed := newArm(p, actor)
	armed.Boots = boots
	identity, has, err := s.render(ctx, p, values, armed.Beacon)
	if err != nil {
		return api.Machine{}, err
	}
	if !has || identity.BeaconURL == "" {
		armed.Beacon = ""
	}
	if has {
		armed.Plan.Identity, armed.Reach = identity.Digest(), reach(identity)
		if err := docs.Put(ctx, s.Store.Space, KindPlanIdentity, armed.Plan.ID, identity); err != nil {
			return api.Machine{}, err
		}
	}
	// Where this fails the arm may have been made all the same, by a store that
	// answered too late or to a caller that is gone. Its identity stays: that of
	// no arm is found by the next sweep.
	m, err = s.change(ctx, o.id, func(m *fleet.Record) ([]api.Event, error) { return s.arm(m, o, armed) })
	return s.room.view(m, s.now()), err
}

// arm is the transaction of Flash: what the operator agreed to must still be
// so in it.
func (s Operators) arm(m *fleet.Record, o order, armed fleet.Armed) ([]api.Event, error) {
	now := s.now()
	p, _, err := o.proposal(*m)
	if err != nil {
		return nil, err
	}
	v, refused := p.Preview(now)
	if refused != nil {
		return nil, refused
	}
	if err := view.Agreed(v, o.request.Shown); err != nil {
		return nil, err
	}
	if v.Disk != nil && len(armed.Plan.Keep) > 0 {
		if armed.Plan.Keep, err = view.ResolveKeep(*v.Disk, p.Image, armed.Plan.Keep); err != nil {
			return nil, &fleet.InvalidError{Problem: err.Error(), Help: "gild machine show lists the partitions"}
		}
	}
	armed.Plan.Agreed = fleet.Agree(m, v.Disk, o.request.Unseen)
	if p.Request.Expires > 0 {
		armed.Expires = now.Add(time.Duration(p.Request.Expires) * time.Second)
	}
	return fleet.Arm(m, armed, now)
}

func newArm(p view.Proposal, actor string) fleet.Armed {
	f := p.Request
	return fleet.Armed{
		By: cmp.Or(actor, api.ActorOperator), IdentityName: f.Identity, Confirm: *f.Confirm, Beacon: rand.Text(),
		Plan: api.Plan{
			ID:    rand.Text(),
			Image: api.PlanImage{Name: f.Image, Repository: repository(f.Image), Digest: p.Image.Digest},
			Agent: f.Agent,
			Grow:  !f.NoGrow,
			Wipe:  f.Wipe,
			Known: p.Known,
		},
	}
}

// repository is where the agent pulls an image from. A digest can stand for an
// image too, and a repository has no colon.
func repository(image string) string { return "golden/" + strings.TrimPrefix(image, "sha256:") }

// render makes the identity of the clone; false: it is to have none.
func (s Operators) render(ctx context.Context, p view.Proposal, values map[string]string, token string) (out api.Identity, has bool,
	err error,
) {
	name := p.Request.Identity
	if name == "" {
		return out, false, nil
	}
	var tpl api.Identity
	found, err := docs.Get(ctx, s.Store.Space, KindIdentity, name, &tpl)
	if err != nil {
		return out, false, err
	}
	if !found {
		return out, false, &fleet.UnknownError{What: "identity", Name: name, Help: "gild apply stores identities"}
	}
	m := p.Machine
	facts := clone.Facts{
		Name: m.Spec.Name, ID: m.ID, MAC: m.MAC, UUID: m.Spec.UUID, Serial: m.Spec.Serial, Hostname: m.Spec.Name,
		Image: p.Request.Image, Server: s.BaseURL, Labels: m.Spec.Labels, Values: values,
	}
	if inv := m.Inventory; inv != nil {
		facts.UUID, facts.Serial = cmp.Or(facts.UUID, inv.UUID), cmp.Or(facts.Serial, inv.Serial)
	}
	if tpl.Beacon != "off" && token != "" {
		facts.BeaconURL = sniff.Base(s.BaseURL) + strings.Replace(api.PathBeacon, "{beacon}", token, 1)
	}
	if out, _, err = clone.Render(tpl, facts); err != nil {
		return out, false, &fleet.InvalidError{
			Problem: fmt.Sprintf("identity %s does not fit %s: %v", name, fleet.Called(&m), err),
			Help:    "mend the identity, or the machine's values, with gild apply",
		}
	}
	return out, true, nil
}

// endIdentity removes the identity of a plan that has ended.
func (s *Core) endIdentity(ctx context.Context, plan string) {
	if err := docs.Delete(ctx, s.Store.Space, KindPlanIdentity, plan); err != nil {
		s.log().Warn("the identity of a plan that has ended is still stored", "plan", plan, "err", err)
	}
}

// sweepIdentities removes those of no arm: an arm was refused, or a crash came
// between. An identity is stored a moment before its arm, maybe by another
// server: it goes only when it was among the orphans of the last time, too. It
// returns those of this time.
func (s Upkeep) sweepIdentities(ctx context.Context, before map[string]bool) (map[string]bool, error) {
	kept, err := docs.List[struct{}](ctx, s.Store.Space, KindPlanIdentity)
	if err != nil || len(kept) == 0 {
		return nil, err
	}
	machines, _, err := s.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	for i := range machines {
		if machines[i].Damaged() {
			return nil, fmt.Errorf("machine %s: %s: no identity is let go while that is so", machines[i].ID, machines[i].Message)
		}
		delete(kept, planOf(&machines[i]))
	}
	orphans := map[string]bool{}
	for plan := range kept {
		if before[plan] {
			s.endIdentity(ctx, plan)
		} else {
			orphans[plan] = true
		}
	}
	return orphans, nil
}

// boots is what the machine is to boot; nil: that is not asked.
func (s *Core) boots(p view.Proposal) (*api.Boots, error) {
	if s.Boots == nil {
		return nil, nil
	}
	return s.Boots(p)
}
