package region

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sbin is where distributions keep network tools; it is often not in the PATH of ordinary users.
var sbin = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// lookTool finds a program in PATH and in the sbin folders; "" if there is none.
func lookTool(name string) string {
	for _, d := range append(filepath.SplitList(os.Getenv("PATH")), sbin...) {
		p := filepath.Join(d, name)
		if !filepath.IsAbs(p) {
			continue
		}
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// withSbin returns env with the sbin folders at the end of its PATH.
func withSbin(env []string) []string {
	out := slices.Clone(env)
	at := slices.IndexFunc(out, func(s string) bool { return strings.HasPrefix(s, "PATH=") })
	if at < 0 {
		return append(out, "PATH=/usr/local/bin:/usr/bin:/bin:"+strings.Join(sbin, ":"))
	}
	have := filepath.SplitList(strings.TrimPrefix(out[at], "PATH="))
	for _, d := range sbin {
		if !slices.Contains(have, d) {
			have = append(have, d)
		}
	}
	out[at] = "PATH=" + strings.Join(have, ":")
	return out
}
