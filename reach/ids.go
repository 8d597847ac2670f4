package reach

import "strings"

// ShortID is a resource id as people say it: the last name, below its parent's for a child resource.
// What is no id stays as it is.
func ShortID(id string) string {
	_, rest, ok := cutLast(id, "/providers/")
	if !ok {
		return id
	}
	segs := strings.Split(rest, "/")
	var names []string
	for i := 2; i < len(segs); i += 2 {
		names = append(names, segs[i])
	}
	// What the region hangs under a resource: SUBNET/exec, CLUSTER/nodes/NAME.
	if len(segs)%2 == 0 {
		names = append(names, segs[len(segs)-1])
	}
	if len(names) == 0 {
		return id
	}
	return strings.Join(names, "/")
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(strings.ToLower(s), sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

// ShortIDs shortens every resource id in a text.
func ShortIDs(text string) string {
	words := strings.Split(text, " ")
	for i, w := range words {
		id := strings.TrimRight(w, ".,:;)")
		if strings.HasPrefix(id, "/subscriptions/") {
			words[i] = ShortID(id) + w[len(id):]
		}
	}
	return strings.Join(words, " ")
}
