package compute

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

func (p *Provider) validate(op rp.Op, new, old *rp.Resource[VM]) error {
	v := &new.Properties
	if _, ok := sizeOf(v.Hardware.Size); !ok {
		return invalid("vmSize", "The value %s provided for the VM size is not valid. The valid sizes in the current region are: %s.", clip(v.Hardware.Size), strings.Join(sizeNames(), ","))
	}
	if err := v.validateNetwork(); err != nil {
		return err
	}
	if op == rp.Update {
		return v.validateChange(&old.Properties)
	}
	if err := v.validateStorage(); err != nil {
		return err
	}
	return v.OS.validate()
}

func sizeNames() (out []string) {
	for _, s := range sizes {
		out = append(out, s.Name)
	}
	return out
}

func (v *VM) validateNetwork() error {
	if len(v.Network.Configs) > 0 {
		return arm.NotImplemented("networkProfile.networkInterfaceConfigurations: make the network interface first and name it in networkInterfaces.")
	}
	if _, err := v.nic(); err != nil {
		return err
	}
	if len(v.Network.NICs) > 1 {
		return arm.NotImplemented("networkProfile.networkInterfaces: a machine with more than one network interface is not implemented.")
	}
	if n := v.Network.NICs[0].Properties; n != nil {
		if n.Primary != nil && !*n.Primary {
			return bad("VirtualMachineMustHaveOneNetworkInterfaceAsPrimary", "Virtual machine must have exactly one primary network interface: networkProfile.networkInterfaces names none.")
		}
		if strings.EqualFold(n.DeleteOption, "Delete") {
			return arm.NotImplemented("networkProfile.networkInterfaces.properties.deleteOption 'Delete': the interface stays when its machine goes.")
		}
	}
	return nil
}

func (v *VM) validateStorage() error {
	switch {
	case v.UserData != "" || v.OS != nil && v.OS.CustomData != "":
		return arm.NotImplemented("userData and osProfile.customData: there is no cloud-init in the machine that would run it.")
	case !strings.EqualFold(v.Storage.OSDisk.OSType, "Linux"):
		return arm.NotImplemented("storageProfile.osDisk.osType '%s': machines run Linux.", clip(v.Storage.OSDisk.OSType))
	case v.Storage.OSDisk.CreateOption != "" && !strings.EqualFold(v.Storage.OSDisk.CreateOption, "FromImage"):
		return arm.NotImplemented("storageProfile.osDisk.createOption '%s': disks are made with their machine (FromImage).", clip(v.Storage.OSDisk.CreateOption))
	case len(v.Storage.DataDisks) > 0:
		return arm.NotImplemented("storageProfile.dataDisks: there are no data disks.")
	}
	return nil
}

// forbiddenUsers are names that Azure refuses for administrators.
// https://learn.microsoft.com/azure/virtual-machines/linux/faq
var forbiddenUsers = []string{
	"1", "123", "a", "actuser", "adm", "admin", "admin1", "admin2", "administrator", "aspnet", "backup", "console", "david", "guest", "john",
	"owner", "root", "server", "sql", "support_388945a0", "support", "sys", "test", "test1", "test2", "test3", "user", "user1", "user2", "user3", "user4", "user5", "video",
}

func (o *OS) validate() error {
	switch {
	case o == nil:
		return invalid("osProfile", "Required parameter 'osProfile' is missing (null).")
	case o.Windows != nil:
		return arm.NotImplemented("osProfile.windowsConfiguration: machines run Linux.")
	case o.AdminUsername == "":
		return invalid("adminUsername", "Required parameter 'adminUsername' is missing (null).")
	case len(o.AdminUsername) > 64 || strings.ContainsFunc(o.AdminUsername, func(r rune) bool { return r > 126 || r < '-' || strings.ContainsRune(`/:;<=>?@[\]^`+"`{|}~", r) }):
		return invalid("adminUsername", "The Admin Username specified is invalid: up to 64 letters, digits, '.', '-' and '_'.")
	case slices.Contains(forbiddenUsers, strings.ToLower(o.AdminUsername)):
		return invalid("adminUsername", "The Admin Username specified is not allowed.")
	case len(o.ComputerName) > 64 || !validHost(o.ComputerName):
		return invalid("computerName", "Linux host name '%s' is not valid: up to 64 letters, digits, '.' and '-', which neither begin nor end it.", clip(o.ComputerName))
	}
	if err := o.validateKeys(); err != nil {
		return err
	}
	return o.validatePassword()
}

func validHost(s string) bool {
	return s != "" && strings.Trim(s, "-.") == s && !strings.ContainsFunc(s, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '.'
	})
}

func (o *OS) validateKeys() error {
	home := "/home/" + o.AdminUsername + "/.ssh/authorized_keys"
	for _, k := range o.keys() {
		if k.Path != home {
			return invalid("linuxConfiguration.ssh.publicKeys.path", "Destination path for SSH public keys is currently limited to its default value %s; it is '%s'.", home, clip(k.Path))
		}
		if _, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(k.Data)); err != nil || len(rest) > 0 {
			return invalid("linuxConfiguration.ssh.publicKeys.keyData", "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid: it is not one SSH public key.")
		}
	}
	return nil
}

func (o *OS) keys() []Key {
	if o.Linux.SSH == nil {
		return nil
	}
	return o.Linux.SSH.Keys
}

func (o *OS) validatePassword() error {
	switch {
	case o.Linux.NoPassword && len(o.keys()) == 0:
		return invalid("linuxConfiguration.ssh.publicKeys", "Authentication using either SSH or by user name and password must be enabled in Linux profile.")
	case o.Linux.NoPassword:
		return nil
	case o.AdminPassword == "":
		return invalid("adminPassword", "Required parameter 'adminPassword' is missing (null).")
	case !strong(o.AdminPassword):
		return invalid("adminPassword", "The supplied password must be between 6-72 characters long and must satisfy at least 3 of password complexity requirements from the following: lower-case letter, upper-case letter, digit, other character.")
	}
	return nil
}

// strong tells whether Azure takes a password. bcrypt takes as many bytes.
func strong(s string) bool {
	var lower, upper, digit, other int
	for _, r := range s {
		switch {
		case unicode.IsLower(r):
			lower = 1
		case unicode.IsUpper(r):
			upper = 1
		case unicode.IsDigit(r):
			digit = 1
		default:
			other = 1
		}
	}
	return len(s) >= 6 && len(s) <= 72 && lower+upper+digit+other >= 3
}

// hasPassword compares what a client sent, or has left out, with the stored hash.
func (o *OS) hasPassword(sent string) bool {
	return sent == o.AdminPassword || bcrypt.CompareHashAndPassword([]byte(o.AdminPassword), []byte(sent)) == nil
}

// validateChange refuses changes that need another machine, or that are not implemented.
func (v *VM) validateChange(old *VM) error {
	switch {
	case v.OS == nil || v.OS.AdminUsername != old.OS.AdminUsername || v.OS.ComputerName != old.OS.ComputerName:
		return unchangeable("osProfile")
	case !old.OS.hasPassword(v.OS.AdminPassword):
		return unchangeable("adminPassword")
	case v.OS.Linux.NoPassword != old.OS.Linux.NoPassword:
		return unchangeable("linuxConfiguration.disablePasswordAuthentication")
	case !same(v.OS.keys(), old.OS.keys()):
		return unchangeable("linuxConfiguration.ssh.publicKeys")
	case !strings.EqualFold(v.Network.NICs[0].ID, old.Network.NICs[0].ID):
		return arm.NotImplemented("networkProfile.networkInterfaces: another interface for a machine that exists is not implemented.")
	case !v.Storage.OSDisk.is(&old.Storage.OSDisk):
		return unchangeable("osDisk")
	case !strings.EqualFold(v.Hardware.Size, old.Hardware.Size) && old.Power == running:
		return arm.NotImplemented("hardwareProfile.vmSize: stop or deallocate the machine before it is given another size.")
	}
	return v.validateStorage()
}

// is tells whether it is the same disk; its size and caching are stored only.
func (d *OSDisk) is(other *OSDisk) bool {
	return d.OSType == other.OSType && d.Name == other.Name && strings.EqualFold(d.CreateOption, other.CreateOption)
}
