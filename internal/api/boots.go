package api

import "fmt"

// Boots is what a machine boots to receive an image, and how it will leave the
// agent for the new system.
type Boots struct {
	Kernel  string `json:"kernel,omitempty"` // name of the boot kernel; empty: the image's own kernel
	Release string `json:"release"`          // of the kernel, as uname -r
	Arch    string `json:"arch"`
	Handoff string `json:"handoff"` // one of Handoffs, as far as the image tells
	Why     string `json:"why,omitempty"`
}

// Agent says which kernel runs the agent.
func (b Boots) Agent() string {
	if b.Kernel == "" {
		return fmt.Sprintf("on the image's own kernel, %s", b.Release)
	}
	return fmt.Sprintf("on the boot kernel %s, %s", b.Kernel, b.Release)
}

// Then says how the machine enters its new system.
func (b Boots) Then() string {
	if b.Why == "" {
		return b.Handoff
	}
	return b.Handoff + " (" + b.Why + ")"
}
