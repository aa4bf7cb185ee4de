package fleet

// What the rules' own tests look at.
var (
	Refusal     = refused
	Repeated    = repeated
	RationBurst = rationBurst
	MaxTickets  = maxTickets
)
