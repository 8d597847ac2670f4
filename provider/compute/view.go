package compute

import (
	"context"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// View is what a machine is at (Compute REST: VirtualMachineInstanceView). There is no guest agent that would
// report from the inside.
type View struct {
	ComputerName string     `json:"computerName,omitempty"`
	Generation   string     `json:"hyperVGeneration"`
	Disks        []DiskView `json:"disks"`
	Statuses     []Status   `json:"statuses"`
}

// DiskView of the disk of the system.
type DiskView struct {
	Name     string   `json:"name"`
	Statuses []Status `json:"statuses"`
}

// Status is one.
type Status struct {
	Code    string    `json:"code"`
	Level   string    `json:"level"`
	Display string    `json:"displayStatus"`
	Time    time.Time `json:"time,omitzero"`
}

func (p *Provider) present(ctx context.Context, _ *rp.Tx, r *rp.Resource[VM]) error {
	r.Properties.View = nil
	if strings.EqualFold(rp.Query(ctx).Get("$expand"), "instanceView") {
		r.Properties.View = p.view(r)
	}
	return nil
}

func (p *Provider) instanceView(_ context.Context, _ *rp.Tx, r *rp.Resource[VM], _ []byte) (any, error) {
	return p.view(r), nil
}

func (p *Provider) view(r *rp.Resource[VM]) *View {
	v := &r.Properties
	power := v.Power
	if power == running && !p.cfg.Launcher.Alive(v.VMID) {
		power = "starting"
	}
	made := Status{Code: "ProvisioningState/succeeded", Level: "Info", Display: "Provisioning succeeded", Time: v.Created}
	state := made
	if r.State != arm.Succeeded && r.State != "" {
		name := strings.ToLower(string(r.State))
		state = Status{Code: "ProvisioningState/" + name, Level: "Info", Display: string(r.State)}
	}
	return &View{
		ComputerName: v.OS.ComputerName, Generation: "V2", Disks: []DiskView{{v.Storage.OSDisk.Name, []Status{made}}},
		Statuses: []Status{state, {Code: "PowerState/" + string(power), Level: "Info", Display: "VM " + string(power), Time: v.Since}},
	}
}

// storedNIC is an interface's id as the store, and so the topology, spells it.
func storedNIC(tx *rp.Tx, id arm.ID) (string, error) {
	n, err := rp.Get[network.Interface](tx, id)
	if err != nil {
		return "", err
	}
	return n.ID.String(), nil
}
