package network

import (
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// AttachVM makes an interface a virtual machine's, and returns it. *arm.Error: InvalidResourceReference for one that
// does not exist or stands in another region, NicInUse for another machine's, and Azure's refusals of interfaces
// that belong to private endpoints and private link services.
func AttachVM(tx *rp.Tx, nic arm.ID, vm arm.ID, location string) (*rp.Resource[Interface], error) {
	r, err := live[Interface](tx, &Ref{ID: nic.String()}, vm)
	if err != nil {
		return nil, err
	}
	v := &r.Properties
	switch {
	case r.Location != location:
		return nil, missing(nic, vm)
	case v.PrivateEndpoint != nil:
		return nil, bad("CannotModifyNicAttachedToPrivateEndpoint", "Network interface %s is attached to private endpoint %s. It can not be modified by user.", r.ID, v.PrivateEndpoint.ID)
	case v.LinkService != nil:
		return nil, bad("CannotModifyNicAttachedToPrivateLinkService", "Network interface %s is attached to private link service %s. It can not be modified by user.", r.ID, v.LinkService.ID)
	case v.VirtualMachine != nil && !v.VirtualMachine.is(vm):
		return nil, nicInUse(r)
	}
	v.VirtualMachine, v.Primary = &Ref{ID: vm.String()}, true
	return r, rp.Save(tx, r)
}

// DetachVM takes an interface from a virtual machine. One that is gone, or another's, is no error.
func DetachVM(tx *rp.Tx, nic arm.ID, vm arm.ID) error {
	r, err := rp.Get[Interface](tx, nic)
	if notFound(err) {
		return nil
	}
	if err != nil || !r.Properties.VirtualMachine.is(vm) || r.State == arm.Deleting {
		return err
	}
	r.Properties.VirtualMachine, r.Properties.Primary = nil, false
	return rp.Save(tx, r)
}

// nicInUse is Azure's refusal to delete the interface of a virtual machine, or to give it to another.
func nicInUse(r *rp.Resource[Interface]) *arm.Error {
	return bad("NicInUse", "Network Interface %s is used by existing resource %s. In order to delete the network interface, it must be dissociated from the resource.", r.ID, r.Properties.VirtualMachine.ID)
}

// machineName is the host name of what stands behind an interface: its label, or else its virtual machine's name.
func (v *Interface) machineName() string {
	if v.DNS.Label != "" || v.VirtualMachine == nil {
		return strings.ToLower(v.DNS.Label)
	}
	return hostLabel(v.VirtualMachine.ID[strings.LastIndexByte(v.VirtualMachine.ID, '/')+1:])
}
