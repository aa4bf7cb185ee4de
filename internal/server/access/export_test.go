package access

// What the tests of the guard count with.
const (
	CookieName    = cookieName
	FailureWindow = failureWindow
	MaxFailures   = maxFailures
	LookEvery     = lookEvery
	SessionLasts  = sessionLasts
)

// Has is has.
func (a *Access) Has(token string) bool { return a.has(token) }
