package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	rules "vauban.dev/policy"
	"vauban.dev/store"
)

// noteKind reads nothing of a kind, so that a memo follows it.
func (p *Provider) noteKind(tx *rp.Tx, typeName string) error {
	return tx.Scan(rp.StoreKind(typeName), "\xff", "", func(store.Doc) bool { return false })
}

func (p *Provider) assignments() rp.Type[rules.Assignment] {
	return rp.Type[rules.Assignment]{
		Name: AssignmentType, Kind: rp.Extension, Versions: rp.Versions[rules.Assignment](definitionVersions...),
		NamePattern: `^[^<>*%&:\\?+/]{0,63}[^<>*%&:\\?+/. ]$`, NameRule: "The name has 1 to 64 characters, none of <>*%&:\\?+/, and does not end with a period or a space.",
		StateProperty: "-", SyncDelete: true, ShowDeleted: true, UpdateStatus: http.StatusCreated,
		NotFound: func(id arm.ID) *arm.Error {
			return arm.Errorf(http.StatusNotFound, "PolicyAssignmentNotFound", "The policy assignment '%s' is not found.", id.Name())
		},
		Default: func(version string, r *rp.Resource[rules.Assignment]) {
			a := &r.Properties
			if len(r.SKU) == 0 && version < "2020-03-01" { // later versions of the API have no sku
				r.SKU = json.RawMessage(`{"name":"A0","tier":"Free"}`)
			}
			a.EnforcementMode = cmp.Or(a.EnforcementMode, "Default")
			a.Scope = r.ID.Scope().String()
			if a.NotScopes == nil {
				a.NotScopes = []string{}
			}
		},
		Validate: validateAssignment, Admit: p.admitAssignment,
	}
}

func validateAssignment(_ rp.Op, r, old *rp.Resource[rules.Assignment]) error {
	a := &r.Properties
	bad := func(format string, args ...any) error {
		return arm.Errorf(http.StatusBadRequest, "InvalidPolicyAssignment", format, args...)
	}
	switch {
	case a.DefinitionID == "":
		return arm.Errorf(http.StatusBadRequest, "InvalidCreatePolicyAssignmentRequest", "The policy assignment '%s' names no definition: properties.policyDefinitionId.", r.ID.Name())
	case old != nil && !strings.EqualFold(old.Properties.DefinitionID, a.DefinitionID):
		return arm.Errorf(http.StatusBadRequest, "InvalidUpdatePolicyAssignmentRequest", "The policy definition of the policy assignment '%s' cannot be changed.", r.ID.Name())
	case !slices.ContainsFunc([]string{"Default", "DoNotEnforce", "Enroll"}, func(m string) bool { return strings.EqualFold(m, a.EnforcementMode) }):
		return bad("The enforcement mode '%s' is not Default or DoNotEnforce: properties.enforcementMode.", a.EnforcementMode)
	case strings.EqualFold(a.EnforcementMode, "Enroll"):
		return arm.NotImplemented("properties.enforcementMode: policy enrollments are not evaluated.")
	case len([]rune(a.DisplayName)) > 128:
		return bad("properties.displayName has more than 128 characters.")
	case len(a.NotScopes) > 400:
		return bad("properties.notScopes has more than 400 elements.")
	case len(a.ResourceSelectors) > 10 || len(a.Overrides) > 10:
		return bad("properties.resourceSelectors and properties.overrides have 10 elements at most.")
	}
	for _, s := range a.NotScopes {
		id, err := arm.ParseID(s)
		if err != nil {
			return bad("The excluded scope '%s' is not a resource id: properties.notScopes.", s)
		}
		scope := r.ID.Scope()
		if scope.ManagementGroup() == "" && !id.Within(scope) {
			return bad("The excluded scope '%s' does not lie in the assignment's scope '%s'.", s, scope)
		}
	}
	for _, s := range a.ResourceSelectors {
		if err := checkSelectors(s.Selectors, "resourceLocation", "resourceType", "resourceWithoutLocation", "userPrincipalId", "groupPrincipalId"); err != nil {
			return err
		}
	}
	for _, o := range a.Overrides {
		if !strings.EqualFold(o.Kind, "policyEffect") {
			return arm.NotImplemented("properties.overrides: the kind '%s' is not evaluated, policyEffect is.", o.Kind)
		}
		if err := checkSelectors(o.Selectors, "policyDefinitionReferenceId", "resourceLocation"); err != nil {
			return err
		}
	}
	return nil
}

func checkSelectors(all []rules.Selector, kinds ...string) error {
	for _, s := range all {
		known := slices.ContainsFunc(kinds, func(k string) bool { return strings.EqualFold(k, s.Kind) })
		switch {
		case !known:
			return arm.Errorf(http.StatusBadRequest, "InvalidPolicySelector", "The selector kind '%s' is not one of %s.", s.Kind, strings.Join(kinds, ", "))
		case strings.HasSuffix(strings.ToLower(s.Kind), "principalid"):
			return arm.NotImplemented("The selector kind '%s' is not evaluated.", s.Kind)
		case len(s.In) > 0 && len(s.NotIn) > 0 || len(s.In) == 0 && len(s.NotIn) == 0:
			return arm.Errorf(http.StatusBadRequest, "InvalidPolicySelector", "The selector '%s' needs one of 'in' and 'notIn'.", s.Kind)
		case len(s.In) > 50 || len(s.NotIn) > 50:
			return arm.Errorf(http.StatusBadRequest, "InvalidPolicySelector", "The selector '%s' has more than 50 values.", s.Kind)
		}
	}
	return nil
}

func (p *Provider) admitAssignment(ctx context.Context, tx *rp.Tx, op rp.Op, r, old *rp.Resource[rules.Assignment]) (err error) {
	a := r.Properties
	a.ID = r.ID.String()
	if err := p.above(ctx, tx, a.DefinitionID, r.ID, "The policy definition specified in policy assignment '"+r.ID.Name()+"'"); err != nil {
		return err
	}
	bound, err := rules.Bind(p.library(tx), &a)
	if err != nil {
		return invalid(err)
	}
	for _, b := range bound {
		if err := p.admitBound(r, b); err != nil {
			return err
		}
	}
	var before json.RawMessage
	if old != nil {
		before = old.Properties.Metadata
	}
	r.Properties.Metadata, err = stamped(tx, r.Properties.Metadata, before)
	return err
}

// admitBound refuses what would be assigned and not enforced, and changes without an identity to make them.
func (p *Provider) admitBound(r *rp.Resource[rules.Assignment], b *rules.Bound) error {
	for _, effect := range b.PossibleEffects() {
		switch {
		case effect == rules.Disabled:
		case !b.Definition.ResourceMode():
			return arm.NotImplemented("The policy definition '%s' has the mode '%s'. The data plane that would ask it is not one of this region: it would not be enforced. Assign it with the effect Disabled.", b.Definition.ID, b.Definition.Mode)
		case !rules.Supported(effect):
			return arm.NotImplemented("The policy definition '%s' has the effect '%s', which this region does not have: it would not be enforced. Assign it with the effect Disabled.", b.Definition.ID, rules.EffectName(effect))
		case effect == rules.Modify || effect == rules.DeployIfNotExists:
			if r.Identity == nil || strings.EqualFold(r.Identity.Type, "None") || r.Identity.Type == "" {
				return arm.Errorf(http.StatusBadRequest, "ResourceIdentityRequired", "The policy assignment '%s' request is invalid. Policy assignments must include a 'managed identity' when assigning '%s' policy definitions. Please see https://aka.ms/azurepolicyremediation for usage details.", r.ID.Name(), rules.EffectName(effect))
			}
			if r.Location == "" {
				return arm.Errorf(http.StatusBadRequest, "LocationRequired", "The policy assignment '%s' has a managed identity: it needs a location.", r.ID.Name())
			}
		}
	}
	return nil
}

// above refuses a definition that is not at or above the scope at which it is used.
func (p *Provider) above(ctx context.Context, tx *rp.Tx, definition string, user arm.ID, what string) error {
	id, err := arm.ParseID(definition)
	if err != nil {
		return arm.Errorf(http.StatusBadRequest, "InvalidPolicyDefinitionReference", "The id '%s' is not that of a policy definition.", definition)
	}
	if builtinID(id) {
		return nil
	}
	scopes, err := p.enclosingIn(ctx, tx, user.Scope())
	if err != nil {
		return err
	}
	if slices.Contains(scopes, id.Scope().Key()) {
		return nil
	}
	return arm.Errorf(http.StatusBadRequest, "InvalidCreatePolicyAssignmentRequest", "%s is out of scope. Policy definitions should be specified only at or above the policy assignment scope. If the management groups hierarchy changed recently or if assigning a management group policy to new subscription, please allow up to 30 minutes for the hierarchy changes to apply and try again.", what)
}

func (p *Provider) exemptions() rp.Type[rules.Exemption] {
	return rp.Type[rules.Exemption]{
		Name: ExemptionType, Kind: rp.Extension, Versions: rp.Versions[rules.Exemption](exemptionVersions...),
		NamePattern: `^[^<>*%&:\\?+/]{0,63}[^<>*%&:\\?+/. ]$`, NameRule: "The name has 1 to 64 characters, none of <>*%&:\\?+/, and does not end with a period or a space.",
		StateProperty: "-", SyncDelete: true,
		NotFound: func(id arm.ID) *arm.Error {
			return arm.Errorf(http.StatusNotFound, "PolicyExemptionNotFound", "The policy exemption '%s' could not be found.", id.Name())
		},
		Validate: validateExemption, Admit: p.admitExemption,
		// Exempting takes the right on the assignment as well ("Azure Policy exemption structure": required permissions).
		Links: func(r *rp.Resource[rules.Exemption]) []rp.Link {
			id, err := arm.ParseID(r.Properties.AssignmentID)
			if err != nil {
				return nil // Validate says so
			}
			return []rp.Link{{Action: AssignmentType + "/exempt/action", ID: id}}
		},
	}
}

func validateExemption(_ rp.Op, r, _ *rp.Resource[rules.Exemption]) error {
	e := &r.Properties
	bad := func(format string, args ...any) error {
		return arm.Errorf(http.StatusBadRequest, "InvalidPolicyExemption", format, args...)
	}
	id, err := arm.ParseID(e.AssignmentID)
	if err != nil || id.Type().Key() != strings.ToLower(AssignmentType) {
		return bad("The policy assignment '%s' of the policy exemption '%s' is not the id of one: properties.policyAssignmentId.", e.AssignmentID, r.ID.Name())
	}
	switch strings.ToLower(e.Category) {
	case "waiver", "mitigated":
	default:
		return bad("The exemption category '%s' is not Waiver or Mitigated: properties.exemptionCategory.", e.Category)
	}
	for _, s := range e.ResourceSelectors {
		if err := checkSelectors(s.Selectors, "resourceLocation", "resourceType", "resourceWithoutLocation"); err != nil {
			return err
		}
	}
	return nil
}

func (p *Provider) admitExemption(ctx context.Context, tx *rp.Tx, _ rp.Op, r, old *rp.Resource[rules.Exemption]) (err error) {
	e := &r.Properties
	id, err := arm.ParseID(e.AssignmentID)
	if err != nil {
		return err
	}
	a, err := rp.Get[rules.Assignment](tx, id)
	if err != nil {
		if arm.AsError(err) != nil {
			return arm.Errorf(http.StatusNotFound, "PolicyAssignmentNotFound", "The policy assignment '%s' is not found.", id.Name())
		}
		return err
	}
	scopes, err := p.enclosingIn(ctx, tx, r.ID.Scope())
	if err != nil {
		return err
	}
	if !slices.Contains(scopes, id.Scope().Key()) && !strings.EqualFold(e.ScopeValidation, "DoNotValidate") {
		return arm.Errorf(http.StatusBadRequest, "InvalidPolicyExemption", "The policy exemption '%s' is at '%s', which the scope '%s' of the policy assignment does not enclose.", r.ID.Name(), r.ID.Scope(), id.Scope())
	}
	if len(e.ReferenceIDs) > 0 {
		set, err := p.library(tx).Set(a.Properties.DefinitionID, "")
		if err != nil {
			return arm.Errorf(http.StatusBadRequest, "InvalidPolicyExemption", "properties.policyDefinitionReferenceIds is for assignments of initiatives.")
		}
		for _, ref := range e.ReferenceIDs {
			if !slices.ContainsFunc(set.Definitions, func(d rules.Reference) bool { return strings.EqualFold(d.ReferenceID, ref) }) {
				return arm.Errorf(http.StatusBadRequest, "InvalidPolicyExemption", "The initiative has no policy definition with the reference '%s': properties.policyDefinitionReferenceIds.", ref)
			}
		}
	}
	var before json.RawMessage
	if old != nil {
		before = old.Properties.Metadata
	}
	e.Metadata, err = stamped(tx, e.Metadata, before)
	return err
}
