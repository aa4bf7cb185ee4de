package golden

import "fmt"

// CheckRepository holds a name to what the OCI distribution specification
// allows ("Pulling manifests"), so that it cannot leave its place in a path.
func CheckRepository(name string) error {
	bad := name == "" || len(name) > 255
	previous := byte('/')
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (c != '/' && c != '.' && c != '-' && c != '_' || previous == '/') || c == '.' && previous == '.' {
			bad = true
		}
		previous = c
	}
	if bad || previous == '/' {
		return fmt.Errorf("%.80q is not the name of a repository", name)
	}
	return nil
}

// CheckReference holds a tag or a digest to the same specification.
func CheckReference(reference string) error {
	if _, err := ParseDigest(reference); err == nil {
		return nil
	}
	bad := reference == "" || len(reference) > 128
	for i := range len(reference) {
		c := reference[i]
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		if !word && (c != '.' && c != '-' || i == 0) {
			bad = true
		}
	}
	if bad {
		return fmt.Errorf("%.80q is neither a tag nor a digest", reference)
	}
	return nil
}
