package redfish

// object is a resource as it was read. Whatever a BMC leaves out, or has with
// another type, is empty.
type object map[string]any

func (o object) at(key string) object {
	inner, _ := o[key].(map[string]any)
	return inner
}

func (o object) text(key string) string {
	s, _ := o[key].(string)
	return s
}

func (o object) has(key string) bool { v, ok := o[key]; return ok && v != nil }

// link is where a reference leads.
func (o object) link() string { return o.text("@odata.id") }

func (o object) list(key string) (all []object) {
	items, _ := o[key].([]any)
	for _, i := range items {
		if inner, ok := i.(map[string]any); ok {
			all = append(all, inner)
		}
	}
	return all
}

func (o object) texts(key string) (all []string) {
	items, _ := o[key].([]any)
	for _, i := range items {
		if s, ok := i.(string); ok {
			all = append(all, s)
		}
	}
	return all
}
