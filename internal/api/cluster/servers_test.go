package cluster

import (
	"strings"
	"testing"
)

// A client that is made of what another one knows resumes where that one is.
func TestServersAreHandedOver(t *testing.T) {
	c, err := Open("http://a:1,http://b:1")
	if err != nil {
		t.Fatal(err)
	}
	c.known.learn([]string{"http://c:1"})
	c.known.failed(c.known.current())
	const want = "http://b:1,http://c:1,http://a:1"
	if got := c.Bases(); got != want {
		t.Errorf("Bases() = %s; want %s", got, want)
	}
	if heir, err := Open(c.Bases()); err != nil || heir.Bases() != want {
		t.Errorf("a client made of that knows %s (%v); want %s", heir.Bases(), err, want)
	}
}

// Calls that fail together continue by one server, not by one each.
func TestFailTogether(t *testing.T) {
	c, err := Open("http://a:1,http://b:1,http://c:1")
	if err != nil {
		t.Fatal(err)
	}
	u := c.known.current()
	for range 8 {
		c.known.failed(u)
	}
	if next(c) != "http://b:1" {
		t.Errorf("next server %s; want http://b:1", next(c))
	}
}

// next is the server that the next call of c goes to.
func next(c *Servers) string {
	first, _, _ := strings.Cut(c.Bases(), ",")
	return first
}
