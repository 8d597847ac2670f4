package main

import "testing"

func TestParseAttribute(t *testing.T) {
	for text, want := range map[string][2]string{
		"@Request[a:b]=c":               {"@Request[a:b]", "c"},
		"@resource[tags:P<$x$>]=a=b]=c": {"@resource[tags:P<$x$>]", "a=b]=c"},
		"@Environment[UtcNow]=":         {"@Environment[UtcNow]", ""},
		"Principal[x]=y":                {"@Principal[x]", "y"},
	} {
		name, value, err := parseAttribute(text)
		if err != nil || name != want[0] || value != want[1] {
			t.Errorf("%s: %q %q %v", text, name, value, err)
		}
	}
	for _, text := range []string{"", "a=b", "@Nowhere[a]=b", "@Request[a]", "@Request(a)=b"} {
		if _, _, err := parseAttribute(text); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
