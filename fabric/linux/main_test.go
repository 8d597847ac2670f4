package linux

import (
	"os"
	"testing"

	"vauban.dev/internal/testkit/netns"
)

func TestMain(m *testing.M) { os.Exit(netns.Main(m)) }
