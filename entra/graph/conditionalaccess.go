package graph

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/entra/conditionalaccess"
	"vauban.dev/store"
)

// Conditional access policies and named locations ("conditionalAccessPolicy resource type", "namedLocation
// resource type").

var (
	readPolicies = Need{
		Application: []string{"Policy.Read.All", "Policy.Read.ConditionalAccess", "Policy.ReadWrite.ConditionalAccess"},
		Delegated:   []string{"Policy.Read.All", "Policy.Read.ConditionalAccess", "Policy.ReadWrite.ConditionalAccess"}, Action: "conditionalAccessPolicies/standard/read",
	}
	writePolicies = Need{
		Application: []string{"Policy.ReadWrite.ConditionalAccess"}, Delegated: []string{"Policy.ReadWrite.ConditionalAccess"}, Action: "conditionalAccessPolicies/basic/update",
	}
)

// conditionalAccessRoutes are the routes below identity/conditionalAccess, of which conditionalAccess is an older
// name.
func conditionalAccessRoutes() (out []Route) {
	for _, root := range []string{"identity/conditionalAccess/", "conditionalAccess/"} {
		out = append(out,
			Route{get, root + "policies", readPolicies, (*Call).listPolicies},
			Route{post, root + "policies", writePolicies, (*Call).putPolicy},
			Route{get, root + "policies/{id}", readPolicies, (*Call).getPolicy},
			Route{patch, root + "policies/{id}", writePolicies, (*Call).putPolicy},
			Route{remove, root + "policies/{id}", writePolicies, (*Call).removePolicy},
			Route{get, root + "namedLocations", readPolicies, (*Call).listLocations},
			Route{post, root + "namedLocations", writePolicies, (*Call).putLocation},
			Route{get, root + "namedLocations/{id}", readPolicies, (*Call).getLocation},
			Route{patch, root + "namedLocations/{id}", writePolicies, (*Call).putLocation},
			Route{remove, root + "namedLocations/{id}", writePolicies, (*Call).removeLocation},
		)
	}
	return out
}

// atHome refuses partners: the policies are those of the home tenant.
func (c *Call) atHome() error {
	if c.tenant() != c.dir.Tenant().ID {
		return notServed("conditional access of a partner's tenant")
	}
	return nil
}

// conditionalAccess reads policies and locations.
func (c *Call) conditionalAccess() (policies []conditionalaccess.Policy, locations map[string]conditionalaccess.Location, err error) {
	if err := c.atHome(); err != nil {
		return nil, nil, err
	}
	err = c.View(func(tx store.Tx) error {
		policies, locations, err = c.dir.ConditionalAccess(tx)
		return err
	})
	return policies, locations, err
}

func (c *Call) listPolicies() error {
	policies, _, err := c.conditionalAccess()
	if err != nil {
		return err
	}
	if policies == nil {
		policies = []conditionalaccess.Policy{}
	}
	return c.Answer(http.StatusOK, map[string]any{"@odata.context": c.context("identity/conditionalAccess/policies"), "value": policies})
}

// policyByID finds a policy; a refusal when there is none.
func policyByID(policies []conditionalaccess.Policy, id string) (conditionalaccess.Policy, error) {
	for _, p := range policies {
		if strings.EqualFold(p.ID, id) {
			return p, nil
		}
	}
	return conditionalaccess.Policy{}, notFound(id)
}

func (c *Call) getPolicy() error {
	policies, _, err := c.conditionalAccess()
	if err != nil {
		return err
	}
	p, err := policyByID(policies, c.Vars[0])
	if err != nil {
		return err
	}
	return c.Answer(http.StatusOK, p)
}

// putPolicy makes a policy (POST) or changes one (PATCH).
func (c *Call) putPolicy() error {
	if err := c.atHome(); err != nil {
		return err
	}
	var body json.RawMessage
	if err := c.Body(&body); err != nil {
		return err
	}
	var p conditionalaccess.Policy
	err := c.Update(func(tx store.Tx) error {
		now := c.clock.Now()
		old := conditionalaccess.Policy{ID: uuid.NewString(), Created: now}
		if len(c.Vars) > 0 {
			policies, _, err := c.dir.ConditionalAccess(tx)
			if err != nil {
				return err
			}
			if old, err = policyByID(policies, c.Vars[0]); err != nil {
				return err
			}
			old.Modified = &now
		}
		var err error
		if p, err = conditionalaccess.Parse(body, old); err != nil {
			return refusedPolicy(err)
		}
		return c.dir.PutPolicy(tx, p)
	})
	if err != nil {
		return err
	}
	if len(c.Vars) > 0 {
		return c.Answer(http.StatusNoContent, nil)
	}
	return c.Answer(http.StatusCreated, p)
}

// refusedPolicy is why a policy or a location is not taken, in Graph's form.
func refusedPolicy(err error) error {
	invalid, unsupported := new(conditionalaccess.Invalid), new(conditionalaccess.Unsupported)
	switch {
	case errors.As(err, &invalid):
		return fail(http.StatusBadRequest, "BadRequest", "Invalid value specified for property '%s': %s.", invalid.Field, invalid.Rule)
	case errors.As(err, &unsupported):
		return fail(http.StatusNotImplemented, "NotImplemented", "%s.", printable(unsupported.Error()))
	}
	return err
}

func (c *Call) removePolicy() error { return c.removeOf(c.dir.RemovePolicy) }

func (c *Call) removeLocation() error { return c.removeOf(c.dir.RemoveLocation) }

func (c *Call) removeOf(remove func(store.Tx, string) error) error {
	if err := c.atHome(); err != nil {
		return err
	}
	err := c.Update(func(tx store.Tx) error { return remove(tx, c.Vars[0]) })
	if errors.Is(err, store.ErrNotFound) {
		return notFound(c.Vars[0])
	}
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}

func (c *Call) listLocations() error {
	_, locations, err := c.conditionalAccess()
	if err != nil {
		return err
	}
	out := []map[string]any{}
	for _, id := range slices.Sorted(maps.Keys(locations)) {
		out = append(out, locations[id].Graph())
	}
	return c.Answer(http.StatusOK, map[string]any{"@odata.context": c.context("identity/conditionalAccess/namedLocations"), "value": out})
}

func (c *Call) getLocation() error {
	_, locations, err := c.conditionalAccess()
	if err != nil {
		return err
	}
	l, ok := locations[strings.ToLower(c.Vars[0])]
	if !ok {
		return notFound(c.Vars[0])
	}
	return c.Answer(http.StatusOK, l.Graph())
}

// putLocation makes a named location (POST) or changes one (PATCH).
func (c *Call) putLocation() error {
	if err := c.atHome(); err != nil {
		return err
	}
	var body json.RawMessage
	if err := c.Body(&body); err != nil {
		return err
	}
	var l conditionalaccess.Location
	err := c.Update(func(tx store.Tx) error {
		now := c.clock.Now()
		old := conditionalaccess.Location{}
		if len(c.Vars) > 0 {
			_, locations, err := c.dir.ConditionalAccess(tx)
			if err != nil {
				return err
			}
			var ok bool
			if old, ok = locations[strings.ToLower(c.Vars[0])]; !ok {
				return notFound(c.Vars[0])
			}
		}
		var err error
		if l, err = conditionalaccess.ParseLocation(body, old); err != nil {
			return refusedPolicy(err)
		}
		if l.ID == "" {
			l.ID, l.Created = uuid.NewString(), now
		} else {
			l.Modified = &now
		}
		return c.dir.PutLocation(tx, l)
	})
	if err != nil {
		return err
	}
	if len(c.Vars) > 0 {
		return c.Answer(http.StatusNoContent, nil)
	}
	return c.Answer(http.StatusCreated, l.Graph())
}
