package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/term"
)

// settings says by what the rest is looked at.
func settings(_ context.Context, p *Patient) []Finding {
	if p.Settings == "" {
		return one(OK, "no configuration file; the flags of gild serve count", "")
	}
	return one(OK, "read from "+p.Settings, "")
}

// discovery looks whether unknown machines can boot what they are to boot.
func discovery(_ context.Context, p *Patient) []Finding {
	if p.Discover == "" {
		return nil
	}
	list, err := p.Images()
	if err != nil {
		return nil // a finding already
	}
	i := slices.IndexFunc(list, func(im api.Image) bool { return im.Name == p.Discover })
	if i < 0 {
		return one(Problem, fmt.Sprintf("unknown machines boot their disks: --discover names image %.120q, which is not stored", p.Discover),
			"gild image add, or name another image")
	}
	if err := p.Bootable(list[i].Digest); err != nil {
		return one(Problem, fmt.Sprintf("unknown machines boot their disks: image %.120q cannot be booted: %v", p.Discover, err),
			exit.HintOf(err))
	}
	return one(OK, "unknown machines boot the agent with the kernel of "+p.Discover, "")
}

// bootKernel looks for the kernel that runs the agent for images without one.
// That there is none is told of the images that need it.
func bootKernel(_ context.Context, p *Patient) []Finding {
	stored, err := p.Kernels()
	_, here := stored[p.Kernel]
	switch {
	case err != nil:
		return one(Problem, "a stored boot kernel cannot be read: "+err.Error(), "gild kernel rm, then add it again")
	case p.Kernel != "" && !here:
		return one(Warning, fmt.Sprintf("--boot-kernel names %.120q, which is not stored: the newest that fits a machine is used", p.Kernel),
			"gild kernel add, or name another one")
	case p.Kernel != "":
		return one(OK, p.Kernel+", for "+stored[p.Kernel]+" machines", "")
	case len(stored) > 0:
		return one(OK, fmt.Sprintf("%d stored, the newest that fits a machine is used", len(stored)), "")
	}
	return nil
}

// renewBefore is how long before its end a certificate is to be renewed.
const renewBefore = 21 * 24 * time.Hour

// certificate looks at that of the operator API.
func certificate(_ context.Context, p *Patient) []Finding {
	if p.Cert == "" && p.Key == "" {
		return nil
	}
	if p.Cert == "" || p.Key == "" {
		return one(Problem, "--operator-cert and --operator-key are not given together", "give both, or neither")
	}
	pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	if err != nil {
		return one(Problem, "the operator API has no certificate: "+err.Error(), "make one for its name, in PEM, with its key")
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return one(Problem, p.Cert+": "+err.Error(), "make another one")
	}
	const remedy = "renew it, and restart gild serve"
	switch left := time.Until(leaf.NotAfter); {
	case left < 0:
		return one(Problem, "the certificate of the operator API has expired on "+leaf.NotAfter.Format(time.DateOnly), remedy)
	case time.Until(leaf.NotBefore) > 0:
		return one(Problem, "the certificate of the operator API is not valid before "+leaf.NotBefore.Local().Format(term.Moment),
			"set the clock right, or wait")
	case left < renewBefore:
		return one(Warning, "the certificate of the operator API expires on "+leaf.NotAfter.Format(time.DateOnly), remedy)
	}
	return one(OK, "of the operator API, until "+leaf.NotAfter.Format(time.DateOnly), "")
}
