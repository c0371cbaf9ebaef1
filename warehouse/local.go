package warehouse

// A Local is the warehouse of this user on this machine.
type Local struct{ dir string }

// Memos keeps memos by step key.
type Memos struct{ dir string }
