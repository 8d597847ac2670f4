package network

import (
	"context"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/privatelink"
)

// connectionState is what the target says of the connection now.
func connectionState(tx *rp.Tx, v *Endpoint) (privatelink.State, error) {
	target, err := v.target()
	if err != nil {
		return privatelink.State{}, err
	}
	c, err := rp.Get[privatelink.Connection](tx, target.Child("privateEndpointConnections", v.ConnectionName))
	if notFound(err) || (err == nil && c.State == arm.Deleting) {
		return privatelink.State{Status: "Disconnected", Description: "The connection was removed by the resource that it led to.", ActionsRequired: "None"}, nil
	}
	if err != nil {
		return privatelink.State{}, err
	}
	state := c.Properties.State
	if state.Status == "Pending" {
		state.Description = "Awaiting Approval" // the message is for the target's owner
	}
	return state, nil
}

// reconcileEndpoint follows the connection's state: only an approved one has DNS records and answers.
func (p *Provider) reconcileEndpoint(ctx context.Context, r *rp.Resource[Endpoint]) (rp.Result, error) {
	err := p.cfg.Engine.Update(ctx, func(tx *rp.Tx) error {
		e, err := rp.Get[Endpoint](tx, r.ID)
		if notFound(err) || (err == nil && e.State == arm.Deleting) {
			return nil
		}
		if err != nil {
			return err
		}
		return publishAll(tx, e)
	})
	if err != nil {
		return rp.Result{}, err
	}
	return rp.Result{}, p.cfg.Sync.Sync(ctx)
}

func presentEndpoint(_ context.Context, tx *rp.Tx, r *rp.Resource[Endpoint]) error {
	v := &r.Properties
	c, manual := v.connection()
	if c == nil {
		return nil
	}
	state, err := connectionState(tx, v)
	if err != nil {
		return err
	}
	c.ID, c.ETag, c.Type = connectionID(r.ID, c.Name, manual), r.ETag, EndpointType+"/"+connectionKind(manual)
	c.Properties.ProvisioningState, c.Properties.State = string(arm.Succeeded), &state
	v.CustomDNS = []CustomDNS{}
	groups, err := rp.List[ZoneGroup](tx, ZoneGroupType, r.ID)
	if err != nil || len(groups) > 0 { // with a zone group, DNS is Azure's business
		return err
	}
	for _, m := range v.Members {
		for _, name := range m.FQDNs {
			v.CustomDNS = append(v.CustomDNS, CustomDNS{FQDN: name, Addresses: []string{m.Addr.String()}})
		}
	}
	return nil
}

// releaseEndpoint takes back the connection and the interface; zone groups, which are children, have
// gone before.
func (p *Provider) releaseEndpoint(_ context.Context, tx *rp.Tx, r *rp.Resource[Endpoint]) error {
	target, err := r.Properties.target()
	if err != nil {
		return err
	}
	if err := p.cfg.Targets.Disconnect(tx, target, r.ID); err != nil {
		return err
	}
	for _, ref := range r.Properties.NetworkInterfaces {
		id, err := arm.ParseID(ref.ID)
		if err != nil {
			return err
		}
		if err := removeOwnNIC(tx, id); err != nil {
			return err
		}
	}
	return nil
}

// removeOwnNIC removes the interface of an endpoint or private link service, which clients cannot.
func removeOwnNIC(tx *rp.Tx, id arm.ID) error {
	nic, err := rp.Get[Interface](tx, id)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	nic.Properties.PrivateEndpoint, nic.Properties.LinkService = nil, nil // which is what keeps others from deleting it
	if err := rp.Save(tx, nic); err != nil {
		return err
	}
	return rp.Remove(tx, id)
}
