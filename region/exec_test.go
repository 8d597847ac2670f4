package region_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExecKeepsTheCaller(t *testing.T) {
	eachUser(t, func(t *testing.T, g *ground) {
		g.run("up", g.dir)
		for _, test := range []struct{ name, script, want string }{
			{"uid", "id -u; id -g", fmt.Sprintf("%d\n%d\n", g.uid, g.uid)},
			{"working directory", "pwd", "/\n"},
			{"environment", `echo "$KEPT:$http_proxy:$HTTPS_PROXY:$VAUBAN_PLACE"`, "kept:::test\n"},
			{"name server", "cat /etc/resolv.conf", "nameserver 168.63.129.16\n"},
			{"resolvers", "grep ^hosts: /etc/nsswitch.conf", "hosts: files dns\n"},
			{"bundle", `for v in "$REQUESTS_CA_BUNDLE" "$CURL_CA_BUNDLE" "$SSL_CERT_FILE" "$NODE_EXTRA_CA_CERTS"; do tail -1 "$v"; done`, strings.Repeat("# the region's\n", 4)},
			{"own file", "echo x > " + g.dir + "/mine && stat -c %u " + g.dir + "/mine", fmt.Sprintf("%d\n", g.uid)},
		} {
			c := g.exec("/bin/sh", "-c", test.script)
			c.Env = append(c.Env, "KEPT=kept", "http_proxy=http://p", "HTTPS_PROXY=http://p")
			out, err := c.CombinedOutput()
			if err != nil || string(out) != test.want {
				t.Errorf("%s: %q, %v; want %q", test.name, out, err, test.want)
			}
		}
	})
}

func TestExecHasNoPower(t *testing.T) {
	eachUser(t, func(t *testing.T, g *ground) {
		g.run("up", g.dir)
		for _, script := range []string{
			"ip link set lo down",
			"ip addr add 10.9.9.9/32 dev lo",
			"ip route add 10.9.9.0/24 dev lo",
			"echo 1 > /proc/sys/net/ipv4/ip_forward",
			"mount -t tmpfs none /mnt",
			"umount /etc/resolv.conf",
			"unshare --user --map-root-user ip link set lo down",
			"unshare --user --map-root-user umount /etc/resolv.conf",
			"nsenter --target " + readFile(t, g, "lock") + " --user --net true",
			"nft add table inet t",
		} {
			c := g.exec("/bin/sh", "-c", script)
			c.Env = append(c.Env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
			out, err := c.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() == 127 || len(out) == 0 {
				t.Errorf("%s: %v: %s", script, err, out)
			}
		}
		out, err := g.exec("/bin/cat", "/proc/self/status").Output()
		if err != nil {
			t.Fatal(err)
		}
		want := "0000000000000000"
		if g.uid == 0 { // files, ids, own processes, low ports; no network, no mounts, no tracing
			want = "00000000000404ff"
		}
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
			have := regexp.MustCompile(set + `:\s*(\w+)`).FindStringSubmatch(string(out))
			if set == "CapInh" || set == "CapAmb" {
				if have[1] != "0000000000000000" {
					t.Errorf("%s %s", set, have[1])
				}
			} else if have[1] != want {
				t.Errorf("%s %s, want %s", set, have[1], want)
			}
		}
	})
}

func TestExecEndsAsItsProgram(t *testing.T) {
	eachUser(t, func(t *testing.T, g *ground) {
		g.run("up", g.dir)
		end := func(script string) syscall.WaitStatus {
			c := g.exec("/bin/sh", "-c", script)
			c.Run()
			return c.ProcessState.Sys().(syscall.WaitStatus)
		}
		if ws := end("exit 7"); ws.ExitStatus() != 7 {
			t.Errorf("exit 7: %v", ws)
		}
		for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGQUIT, unix.SIGSEGV, unix.SIGINT} {
			if ws := end(fmt.Sprintf("kill -%d $$", sig)); !ws.Signaled() || ws.Signal() != sig {
				t.Errorf("signal %v: status %#x", sig, ws)
			}
		}
	})
}

func TestExecPassesSignals(t *testing.T) {
	g := newGround(t, os.Getuid())
	g.run("up", g.dir)
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGINT} {
		// A session of its own: no terminal has sent it the signal too.
		c := g.exec("/bin/sh", "-c", fmt.Sprintf("trap 'exit 9' %d; echo ready; while :; do sleep 0.05; done", sig))
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		c.Process.Signal(sig)
		c.Wait()
		if c.ProcessState.ExitCode() != 9 {
			t.Errorf("%v: %v", sig, c.ProcessState)
		}
	}
}

func TestExecDiesWithItsCaller(t *testing.T) {
	eachUser(t, func(t *testing.T, g *ground) {
		g.run("up", g.dir)
		c := g.exec("/bin/sh", "-c", "echo $$; exec sleep 1000")
		out, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Fscan(out, &pid); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		c.Process.Kill()
		c.Wait()
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds())); n != 1 {
			t.Errorf("the program outlives vauban exec: %v", err)
		}
	})
}

func TestExecInsideExec(t *testing.T) {
	eachUser(t, func(t *testing.T, g *ground) {
		g.run("up", g.dir)
		out, err := g.exec(g.self, "exec", g.dir, "/bin/true").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "already inside a region (test)") {
			t.Errorf("%v: %s", err, out)
		}
	})
}
