package region

import (
	"errors"
	"os"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"vauban.dev/region/spawn"
)

// Problem is something about this machine that a region needs to be otherwise.
type Problem struct {
	What   string
	Remedy string // the exact command, or sentence, that mends it
	Fatal  bool   // no region can start; else it starts and does less
}

// Preflight looks for what would stop a region on this machine, by trying it where that is the only
// way to know. Nothing is changed.
func Preflight() []Problem {
	var out []Problem
	if err := tryNamespaces(); err != nil {
		out = append(out, explainNamespaces(err, os.Geteuid() == 0, readSysctl))
	}
	for _, t := range []struct{ tool, why string }{
		{"nft", "packet filters are loaded by nft"},
		{"ip", "network namespaces are listed and repaired by ip"},
	} {
		if lookTool(t.tool) == "" {
			out = append(out, Problem{What: t.tool + " is not installed: " + t.why, Remedy: remedyInstall(t.tool), Fatal: true})
		}
	}
	if FindRuntime().Name == "" {
		out = append(out, Problem{What: "neither crun nor runc is installed: compute nodes are OCI containers", Remedy: remedyInstall("crun"), Fatal: true})
	}
	if os.Geteuid() == 0 {
		return out
	}
	if m, err := mapsForUser(); err == nil && !m.helpers {
		out = append(out, Problem{What: "no subordinate user ids: containers will run under your own user id", Remedy: remedySubIDs(os.Getuid())})
	}
	return out
}

// tryNamespaces makes the namespaces of a region in a child that ends at once.
func tryNamespaces() error {
	p := spawn.New()
	p.Call("unshare user", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	// AppArmor lets the namespace be made and then refuses every capability in it.
	p.Call("unshare net", unix.SYS_UNSHARE, unix.CLONE_NEWNS|unix.CLONE_NEWNET|unix.CLONE_NEWPID)
	p.Mount("none", "/", "", unix.MS_REC|unix.MS_SLAVE)
	p.Exit()
	pid, err := p.Start()
	if err != nil {
		return err
	}
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			return err
		}
	}
}

// explainNamespaces finds what forbids namespaces. sysctl gives the value of a name under /proc/sys,
// "" if the kernel has no such switch.
func explainNamespaces(err error, root bool, sysctl func(string) string) Problem {
	what := "this kernel refuses user namespaces"
	var step *spawn.Error
	if errors.As(err, &step) {
		what += " (" + step.Error() + ")"
	}
	max, maxErr := strconv.Atoi(sysctl("user.max_user_namespaces"))
	switch {
	case root && maxErr == nil && max > 0:
		return Problem{what, "inside a container start that with --privileged, or at least --cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined", true}
	case sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1":
		return Problem{what + ": AppArmor restricts them for ordinary users (Ubuntu 23.10 and later)", remedySysctl("kernel.apparmor_restrict_unprivileged_userns=0"), true}
	case sysctl("kernel.unprivileged_userns_clone") == "0":
		return Problem{what + ": they are switched off for ordinary users", remedySysctl("kernel.unprivileged_userns_clone=1"), true}
	case maxErr == nil && max == 0:
		return Problem{what + ": none are allowed", remedySysctl("user.max_user_namespaces=15000"), true}
	case maxErr != nil:
		return Problem{what, "use a kernel that was built with CONFIG_USER_NS", true}
	}
	return Problem{what, "run as root, or outside the container or sandbox that forbids them", true}
}

func readSysctl(name string) string {
	b, _ := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	return strings.TrimSpace(string(b))
}

func sudo() string {
	if os.Geteuid() == 0 {
		return ""
	}
	return "sudo "
}

// remedySysctl sets a switch now and at every boot.
func remedySysctl(set string) string {
	return "echo " + set + " | " + sudo() + "tee /etc/sysctl.d/60-vauban.conf && " + sudo() + "sysctl -p /etc/sysctl.d/60-vauban.conf"
}

// remedySubIDs gives subordinate ids to the user uid.
func remedySubIDs(uid int) string {
	who := strconv.Itoa(uid)
	if u, err := user.LookupId(who); err == nil {
		who = u.Username
	}
	give := "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " + who
	if lookTool("newuidmap") == "" {
		give = remedyInstall("newuidmap") + " && " + give
	}
	return give + " (then `vauban down` and `up`)"
}

// remedyInstall is the command that installs a tool here.
func remedyInstall(tool string) string {
	deb := map[string]string{"nft": "nftables", "ip": "iproute2", "newuidmap": "uidmap"}
	rpm := map[string]string{"nft": "nftables", "ip": "iproute", "newuidmap": "shadow-utils"}
	name := func(m map[string]string) string {
		if p := m[tool]; p != "" {
			return p
		}
		return tool
	}
	if lookTool("apt-get") == "" && lookTool("dnf") != "" {
		return sudo() + "dnf install -y " + name(rpm)
	}
	return sudo() + "apt-get install -y " + name(deb)
}
