package registry

// texts keeps one copy of equal texts, by themselves: the tenants of one profile have the same schemas and examples, which
// for a thousand tenants of 36 types would be some 60 MB in every service.
type texts map[string]*text

type text struct {
	bytes []byte
	uses  int
}

// take is the copy of b that is kept, until it is given back as often as it was taken.
func (t texts) take(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	kept, ok := t[string(b)]
	if !ok {
		kept = &text{bytes: b}
		t[string(b)] = kept
	}
	kept.uses++
	return kept.bytes
}

func (t texts) give(b []byte) {
	kept, ok := t[string(b)]
	if !ok {
		return
	}
	if kept.uses--; kept.uses == 0 {
		delete(t, string(b))
	}
}
