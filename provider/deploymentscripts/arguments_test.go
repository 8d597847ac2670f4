package deploymentscripts

import (
	"slices"
	"testing"
)

// The examples of Microsoft's page on CommandLineToArgvW, and what templates write.
func TestSplitArguments(t *testing.T) {
	for line, want := range map[string][]string{
		``:                            nil,
		`  a  b	c `:                   {"a", "b", "c"},
		`"abc" d e`:                   {"abc", "d", "e"},
		`a\\\b d"e f"g h`:             {`a\\\b`, `de fg`, `h`},
		`a\\\"b c d`:                  {`a\"b`, `c`, `d`},
		`a\\\\"b c" d e`:              {`a\\b c`, `d`, `e`},
		`a"b"" c d`:                   {`ab" c d`},
		`-name \"John Dole\"`:         {`-name`, `"John`, `Dole"`},
		`true 1 "[\"a\",\"b\"]" "{}"`: {"true", "1", `["a","b"]`, "{}"},
		`"" x`:                        {"", "x"},
		`c:\dir\ x`:                   {`c:\dir\`, "x"},
		`$(id) ; rm`:                  {"$(id)", ";", "rm"},
	} {
		if got := splitArguments(line); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func FuzzSplitArguments(f *testing.F) {
	f.Add(`a\\\"b "c d" ""`)
	f.Fuzz(func(t *testing.T, line string) {
		n := 0
		for _, a := range splitArguments(line) {
			n += len(a)
		}
		if n > len(line) {
			t.Errorf("%q grew", line)
		}
	})
}
