package deploymentscripts

import "strings"

// splitArguments splits a command line as Azure does, by the rules of CommandLineToArgvW
// (https://learn.microsoft.com/windows/win32/api/shellapi/nf-shellapi-commandlinetoargvw): words are separated by blanks;
// quotation marks hold blanks together; 2n backslashes before a mark are n, 2n+1 are n and a mark that is a letter; two
// marks in a quoted part are one. Other backslashes stand for themselves.
func splitArguments(line string) (args []string) {
	var word strings.Builder
	open, quoted, slashes := false, false, 0
	flush := func() {
		word.WriteString(strings.Repeat(`\`, slashes))
		slashes = 0
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\':
			slashes++
			open = true
			continue
		case c == '"':
			word.WriteString(strings.Repeat(`\`, slashes/2))
			odd := slashes%2 == 1
			slashes, open = 0, true
			switch {
			case odd:
				word.WriteByte('"')
			case quoted && i+1 < len(line) && line[i+1] == '"':
				word.WriteByte('"')
				i++
			default:
				quoted = !quoted
			}
			continue
		}
		flush()
		if !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
			if open {
				args = append(args, word.String())
				word.Reset()
				open = false
			}
			continue
		}
		word.WriteByte(c)
		open = true
	}
	flush()
	if open {
		args = append(args, word.String())
	}
	return args
}
