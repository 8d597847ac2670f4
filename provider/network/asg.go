package network

import (
	"context"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// ASG is the properties of an application security group: a name that interfaces join and rules use.
type ASG struct {
	ResourceGUID string `json:"resourceGuid,omitempty" rp:"readonly"`
}

func (p *Provider) asgType() rp.Registration {
	return rp.Of(rp.Type[ASG]{
		Move: moved[ASG],
		Name: ASGType, Kind: rp.Tracked, Versions: rp.Versions[ASG](since("2017-10-01")...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Admit: func(_ context.Context, _ *rp.Tx, op rp.Op, new, _ *rp.Resource[ASG]) error {
			if op == rp.Create {
				new.Properties.ResourceGUID = uuid.NewString()
			}
			return nil
		},
		Reconcile: applied[ASG](p),
		Release:   releaseASG,
	})
}

func releaseASG(_ context.Context, tx *rp.Tx, r *rp.Resource[ASG]) error {
	var users []string
	rules, err := rp.List[Rule](tx, RuleType, root)
	if err != nil {
		return err
	}
	names := func(refs []Ref) bool {
		for _, ref := range refs {
			if ref.is(r.ID) {
				return true
			}
		}
		return false
	}
	for _, rule := range rules {
		if rule.State != arm.Deleting && (names(rule.Properties.SourceASGs) || names(rule.Properties.DestinationASGs)) {
			users = append(users, rule.ID.String())
		}
	}
	nics, err := rp.List[Interface](tx, NICType, root)
	if err != nil {
		return err
	}
	for _, n := range nics {
		if n.Properties.PrivateEndpoint != nil { // told by its endpoint
			continue
		}
		for _, c := range n.Properties.IPConfigurations {
			if n.State != arm.Deleting && names(c.Properties.ASGs) {
				users = append(users, configID(n.ID, c.Name))
			}
		}
	}
	endpoints, err := rp.List[Endpoint](tx, EndpointType, root)
	if err != nil {
		return err
	}
	for _, e := range endpoints {
		if e.State != arm.Deleting && names(e.Properties.ASGs) {
			users = append(users, e.ID.String())
		}
	}
	if len(users) == 0 {
		return nil
	}
	return bad("InUseApplicationSecurityGroupCannotBeDeleted", "Application security group %s cannot be deleted because it is in use by the following resources: %s.", r.ID, inUse(users))
}
