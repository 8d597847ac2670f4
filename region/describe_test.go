package region

import (
	"net"
	"path/filepath"
	"testing"
)

// A server that is killed while it is asked leaves a region that is held, which is no error.
func TestInspectWhileTheServerEnds(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{holderSocket, controlSocket} {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
	}
	s, err := Inspect(t.Context(), dir)
	if err != nil || s.State != Held || s.Holder == 0 {
		t.Errorf("%+v, %v; want it held", s, err)
	}
}
