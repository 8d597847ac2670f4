package vpn

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/internal/testkit/netns"
)

func TestMain(m *testing.M) {
	code := netns.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
