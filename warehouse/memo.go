package warehouse

import (
	"fmt"
	"time"
)

// StepKey is the hash of everything that can change a step's result: 64 hex
// digits. Package plan computes it; here it only names a memo.
type StepKey string

// Check returns an error if key is not one, such as one that could lead elsewhere when
// it becomes part of a path.
func (key StepKey) Check() error {
	ok := len(key) == 64
	for _, c := range []byte(key) {
		ok = ok && (c >= '0' && c <= '9' || c >= 'a' && c <= 'f')
	}
	if !ok {
		return fmt.Errorf("step key %q: want 64 hex digits", string(key))
	}
	return nil
}

// A Memo is what a step key produced. Only steps that ended well have one.
type Memo struct {
	Key       StepKey           `json:"key"`
	Step      string            `json:"step"`                 // the address that produced it, for people
	Outputs   map[string]WareID `json:"outputs"`              // by output name
	Started   time.Time         `json:"started"`              // UTC
	Duration  time.Duration     `json:"duration"`             // nanoseconds, of the step's own process
	Isolation string            `json:"isolation"`            // how it was isolated: "container"
	Kiln      string            `json:"kiln"`                 // version that ran it
	FormulaID string            `json:"formula_id,omitempty"` // warpforge's id of the step, if it came from a document of its
	// Trees are the tree ids of outputs of other packtypes, whose ids leave things out.
	Trees map[string]WareID `json:"trees,omitempty"`
	// Offline says what kept the step from the network where that was not a network
	// namespace with nothing in it: "policy" or "none".
	Offline string `json:"offline,omitempty"`
	// Origin is the URL of the warehouse that the memo came from: its wares may be
	// there and not here. "" for a step that ran here.
	Origin string `json:"origin,omitempty"`
}

// MayBeShared reports whether other machines may rely on the memo: the step could not
// reach a network, and nothing of this machine.
func (m *Memo) MayBeShared() bool { return m.Offline == "" && m.Isolation != "none" }
