package network

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/privatelink"
)

// LinkServiceTarget tells privatelink how private link services are linked: as a whole, by names that their
// owner chose.
func LinkServiceTarget() privatelink.Target {
	return privatelink.Target{Type: LinkServiceType, Versions: since("2019-04-01"), Whole: true, Groups: func(tx *rp.Tx, id arm.ID) ([]privatelink.Group, error) {
		r, err := privatelink.Live[LinkService](tx, id)
		if err != nil {
			return nil, err
		}
		return []privatelink.Group{{Members: []privatelink.Member{{FQDNs: r.Properties.FQDNs}}}}, nil
	}}
}

// serviceAlias is the form of a private link service's alias, which its owner gives to those who may use it.
var serviceAlias = regexp.MustCompile(`(?i)^[a-z0-9_.-]+\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[a-z0-9]+\.azure\.privatelinkservice$`)

// chosenTarget is the resource that a new endpoint asks for, and whether its owner must approve. A private link
// service approves the subscriptions of its autoApproval list; who names it by alias has shown no other right.
func chosenTarget(tx *rp.Tx, r *rp.Resource[Endpoint]) (target arm.ID, manual bool, err error) {
	c, manual := r.Properties.connection()
	alias := c.Properties.ServiceID
	if !serviceAlias.MatchString(alias) {
		alias = ""
		if target, err = arm.ParseID(c.Properties.ServiceID); err != nil {
			return arm.ID{}, false, err
		}
		if !strings.EqualFold(target.Type().String(), LinkServiceType) {
			return target, manual, nil
		}
	}
	service, err := findLinkService(tx, target, alias)
	if err != nil {
		return arm.ID{}, false, err
	}
	unseen := service == nil || (alias != "" || manual) && !service.visibleTo(r.ID.Subscription())
	switch {
	case unseen && alias != "":
		return arm.ID{}, false, bad("InvalidResourceReference", "Private link service alias %s referenced by resource %s was not found, or is not visible to subscription %s.", clip(alias), r.ID, r.ID.Subscription())
	case unseen:
		return arm.ID{}, false, missing(target, r.ID)
	case service.Properties.AutoApproval.has(r.ID.Subscription()):
		return service.ID, false, nil
	}
	return service.ID, manual || alias != "", nil
}

// seenService is a private link service with what may be asked of it.
type seenService struct{ *rp.Resource[LinkService] }

// visibleTo: its own subscription sees a service, and those that it names.
func (s *seenService) visibleTo(subscription string) bool {
	return strings.EqualFold(s.ID.Subscription(), subscription) || s.Properties.Visibility.has(subscription)
}

// findLinkService finds a service by alias, or by id when there is none; nil if it does not exist.
func findLinkService(tx *rp.Tx, id arm.ID, alias string) (*seenService, error) {
	if alias == "" {
		r, err := privatelink.Live[LinkService](tx, id)
		if notFound(err) {
			return nil, nil
		}
		return &seenService{r}, err
	}
	all, err := staying[LinkService](tx, LinkServiceType, root)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		if strings.EqualFold(r.Properties.Alias, alias) {
			return &seenService{r}, nil
		}
	}
	return nil, nil
}

// checkVisibility says whether a subscription sees the service of an alias.
func checkVisibility(_ context.Context, tx *rp.Tx, path, _ map[string]string, body []byte) (any, error) {
	var q struct {
		Alias string `json:"privateLinkServiceAlias"`
	}
	if err := json.Unmarshal(body, &q); err != nil || q.Alias == "" {
		return nil, bad("InvalidRequestFormat", "privateLinkServiceAlias is missing: it is the alias of a private link service.")
	}
	s, err := findLinkService(tx, arm.ID{}, q.Alias)
	if err != nil {
		return nil, err
	}
	return map[string]any{"visible": s != nil && s.visibleTo(path["subscription"])}, nil
}

// autoApproved lists the services of a region that approve the subscription's endpoints by themselves.
func autoApproved(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	all, err := staying[LinkService](tx, LinkServiceType, root)
	if err != nil {
		return nil, err
	}
	type service struct {
		ID string `json:"privateLinkService"`
	}
	value := []service{}
	for _, r := range all {
		s := &seenService{r}
		if strings.EqualFold(r.Location, path["location"]) && s.visibleTo(path["subscription"]) && r.Properties.AutoApproval.has(path["subscription"]) {
			value = append(value, service{r.ID.String()})
		}
	}
	return map[string]any{"value": value}, nil
}
