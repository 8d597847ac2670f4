package authorization

// Limit makes the limits small.
func (p *Provider) Limit(perSubscription, perManagementGroup, customRoles int) *Provider {
	p.limits = limits{perSubscription, perManagementGroup, customRoles}
	return p
}
