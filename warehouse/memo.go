package warehouse

import "time"

// StepKey is the hash of everything that can change a step's result: 64 hex
// digits. Package plan computes it; here it only names a memo.
type StepKey string

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
}
