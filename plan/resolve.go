package plan

// sources is what Resolve remembers about the plan's wares for Fetch.
type sources struct{}
