package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	rules "vauban.dev/policy"
)

func (p *Provider) definitions() rp.Type[rules.Definition] {
	return rp.Type[rules.Definition]{
		Name: DefinitionType, Kind: rp.Extension, Versions: rp.Versions[rules.Definition](definitionVersions...),
		NamePattern: `^[^<>*%&:\\?+/]{0,63}[^<>*%&:\\?+/. ]$`, NameRule: "The name has 1 to 64 characters, none of <>*%&:\\?+/, and does not end with a period or a space.",
		StateProperty: "-", SyncDelete: true, ShowDeleted: true, UpdateStatus: http.StatusCreated,
		NotFound: func(id arm.ID) *arm.Error {
			return arm.Errorf(http.StatusNotFound, "PolicyDefinitionNotFound", "The policy definition '%s' could not be found.", id.Name())
		},
		Default: func(_ string, r *rp.Resource[rules.Definition]) {
			r.Properties.PolicyType = cmp.Or(r.Properties.PolicyType, "Custom")
		},
		Validate: validateDefinition, Admit: p.admitDefinition, Release: p.releaseDefinition,
	}
}

func validateDefinition(_ rp.Op, r, old *rp.Resource[rules.Definition]) error {
	d := &r.Properties
	if err := definitionScope(r.ID); err != nil {
		return err
	}
	if !strings.EqualFold(d.PolicyType, "Custom") {
		return arm.Errorf(http.StatusBadRequest, "InvalidPolicyDefinition", "The policy type '%s' is not one that can be created: properties.policyType is Custom.", d.PolicyType)
	}
	if len(d.Rule) == 0 {
		return arm.Errorf(http.StatusBadRequest, "InvalidPolicyRule", "The policy definition '%s' has no rule: properties.policyRule is missing.", r.ID.Name())
	}
	if !modes[strings.ToLower(d.Mode)] {
		return arm.Errorf(http.StatusBadRequest, "InvalidPolicyDefinition", "The policy mode '%s' is not supported: properties.mode is All, Indexed or that of a resource provider.", d.Mode)
	}
	d.ID = r.ID.String()
	if _, err := rules.Compile(d); err != nil {
		return invalid(err)
	}
	if old != nil {
		return keptParameters(r.ID, old.Properties.Parameters, d.Parameters)
	}
	return nil
}

// modes are those of Azure, in lower case ("Azure Policy definition structure basics": mode).
var modes = map[string]bool{
	"": true, "all": true, "indexed": true, "microsoft.kubernetes.data": true, "microsoft.keyvault.data": true, "microsoft.network.data": true,
	"microsoft.managedhsm.data": true, "microsoft.datafactory.data": true, "microsoft.machinelearningservices.v2.data": true,
	"microsoft.machinelearningservices.data": true, "microsoft.containerservice.data": true, "microsoft.loadtestservice.data": true,
	"microsoft.datacatalog.data": true, "microsoft.synapse.data": true,
}

// definitionScope refuses a definition that is not at a subscription or a management group.
func definitionScope(id arm.ID) error {
	if s := id.Scope(); s.ManagementGroup() != "" && s.Parent().Type().IsZero() || s.Subscription() != "" && s.ResourceGroup() == "" && s.Namespace() == "" {
		return nil
	}
	return arm.Errorf(http.StatusBadRequest, "InvalidPolicyDefinitionScope", "'%s' is not where a definition can be: definitions are made at subscriptions and management groups.", id.Scope())
}

// keptParameters refuses the change of a parameter's type, the removal of one, and a new one without a default.
func keptParameters(id arm.ID, old, now map[string]rules.Parameter) error {
	for name, p := range old {
		n, ok := now[name]
		if !ok {
			return arm.Errorf(http.StatusBadRequest, "UnusedPolicyParameters", "The policy definition '%s' lacks its parameter '%s': parameters cannot be removed.", id.Name(), name)
		}
		if !strings.EqualFold(n.Type, p.Type) {
			return arm.Errorf(http.StatusBadRequest, "InvalidPolicyParameterUpdate", "The type of the parameter '%s' of the policy definition '%s' cannot be changed from '%s' to '%s'.", name, id.Name(), p.Type, n.Type)
		}
	}
	for name, p := range now {
		if _, ok := old[name]; !ok && p.DefaultValue == nil {
			return arm.Errorf(http.StatusBadRequest, "InvalidPolicyParameterUpdate", "The new parameter '%s' of the policy definition '%s' needs a default value.", name, id.Name())
		}
	}
	return nil
}

func (p *Provider) admitDefinition(_ context.Context, tx *rp.Tx, op rp.Op, r, old *rp.Resource[rules.Definition]) (err error) {
	var before json.RawMessage
	if old != nil {
		before = old.Properties.Metadata
	}
	r.Properties.Metadata, err = stamped(tx, r.Properties.Metadata, before)
	return err
}

// stamped is a document's metadata with who made and who changed it, as Azure keeps it.
func stamped(tx *rp.Tx, now, before json.RawMessage) (json.RawMessage, error) {
	m, was := map[string]any{}, map[string]any{}
	if len(now) > 0 && json.Unmarshal(now, &m) != nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "properties.metadata is not an object.")
	}
	if m == nil {
		m = map[string]any{}
	}
	at := tx.Now.UTC().Format("2006-01-02T15:04:05.0000000Z")
	m["createdBy"], m["createdOn"], m["updatedBy"], m["updatedOn"] = tx.Caller.ObjectID, at, nil, nil
	if before != nil {
		_ = json.Unmarshal(before, &was) // our own
		m["createdBy"], m["createdOn"], m["updatedBy"], m["updatedOn"] = was["createdBy"], was["createdOn"], tx.Caller.ObjectID, at
	}
	return json.Marshal(m)
}

// releaseDefinition refuses to delete what an assignment or an initiative uses.
func (p *Provider) releaseDefinition(ctx context.Context, tx *rp.Tx, r *rp.Resource[rules.Definition]) error {
	if user, err := userOf(tx, r.ID); err != nil {
		return err
	} else if user != "" {
		return inUse("policy definition", r.ID, user)
	}
	sets, err := rp.List[rules.SetDefinition](tx, SetType, arm.MustParseID("/"))
	if err != nil {
		return err
	}
	for _, s := range sets {
		for _, ref := range s.Properties.Definitions {
			if strings.EqualFold(ref.DefinitionID, r.ID.String()) {
				return inUse("policy definition", r.ID, s.ID.String())
			}
		}
	}
	return nil
}

func inUse(kind string, id arm.ID, user string) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, "PolicyDefinitionInUse", "The %s '%s' cannot be deleted: '%s' uses it.", kind, id.Name(), user)
}

// userOf is an assignment of the definition, or "".
func userOf(tx *rp.Tx, definition arm.ID) (string, error) {
	all, err := rp.List[rules.Assignment](tx, AssignmentType, arm.MustParseID("/"))
	if err != nil {
		return "", err
	}
	for _, a := range all {
		if strings.EqualFold(a.Properties.DefinitionID, definition.String()) {
			return a.ID.String(), nil
		}
	}
	return "", nil
}

func (p *Provider) sets() rp.Type[rules.SetDefinition] {
	return rp.Type[rules.SetDefinition]{
		Name: SetType, Kind: rp.Extension, Versions: rp.Versions[rules.SetDefinition](definitionVersions...),
		NamePattern: `^[^<>*%&:\\?+/]{0,63}[^<>*%&:\\?+/. ]$`, NameRule: "The name has 1 to 64 characters, none of <>*%&:\\?+/, and does not end with a period or a space.",
		StateProperty: "-", SyncDelete: true, ShowDeleted: true, UpdateStatus: http.StatusCreated,
		NotFound: func(id arm.ID) *arm.Error {
			return arm.Errorf(http.StatusNotFound, "PolicySetDefinitionNotFound", "The policy set definition '%s' could not be found.", id.Name())
		},
		Default: func(_ string, r *rp.Resource[rules.SetDefinition]) {
			r.Properties.PolicyType = cmp.Or(r.Properties.PolicyType, "Custom")
		},
		Validate: validateSet, Admit: p.admitSet, Release: p.releaseSet,
	}
}

func validateSet(_ rp.Op, r, old *rp.Resource[rules.SetDefinition]) error {
	s := &r.Properties
	if err := definitionScope(r.ID); err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		return arm.Errorf(http.StatusBadRequest, "InvalidPolicySetDefinition", format, args...)
	}
	if !strings.EqualFold(s.PolicyType, "Custom") {
		return bad("The policy type '%s' is not one that can be created: properties.policyType is Custom.", s.PolicyType)
	}
	if len(s.Definitions) == 0 || len(s.Definitions) > 1000 {
		return bad("The policy set definition '%s' has %d policy definitions. It may have 1 to 1000: properties.policyDefinitions.", r.ID.Name(), len(s.Definitions))
	}
	groups, seen := map[string]bool{}, map[string]bool{}
	for _, g := range s.Groups {
		if g.Name == "" || groups[strings.ToLower(g.Name)] {
			return bad("The groups of the policy set definition '%s' need names that differ: properties.policyDefinitionGroups.", r.ID.Name())
		}
		groups[strings.ToLower(g.Name)] = true
	}
	for i := range s.Definitions {
		ref := &s.Definitions[i]
		if ref.ReferenceID == "" { // as Azure makes one up
			ref.ReferenceID = newReference(r.ID, i)
		}
		if key := strings.ToLower(ref.ReferenceID); seen[key] {
			return arm.Errorf(http.StatusBadRequest, "DuplicatePolicyDefinitionReferenceId", "The policy set definition '%s' has the reference '%s' twice: properties.policyDefinitions.policyDefinitionReferenceId.", r.ID.Name(), ref.ReferenceID)
		} else {
			seen[key] = true
		}
		for _, g := range ref.GroupNames {
			if !groups[strings.ToLower(g)] {
				return bad("The reference '%s' names the group '%s', which properties.policyDefinitionGroups lacks.", ref.ReferenceID, g)
			}
		}
	}
	if old != nil {
		return keptParameters(r.ID, old.Properties.Parameters, s.Parameters)
	}
	return nil
}

func (p *Provider) admitSet(ctx context.Context, tx *rp.Tx, _ rp.Op, r, old *rp.Resource[rules.SetDefinition]) (err error) {
	var before json.RawMessage
	if old != nil {
		before = old.Properties.Metadata
	}
	s := &r.Properties
	lib := p.library(tx)
	for _, ref := range s.Definitions {
		d, err := lib.Definition(ref.DefinitionID, ref.Version)
		if err != nil {
			return invalid(err)
		}
		if err := p.above(ctx, tx, ref.DefinitionID, r.ID, "The policy definition '"+ref.DefinitionID+"' in the policy set definition '"+r.ID.Name()+"'"); err != nil {
			return err
		}
		for name := range ref.Parameters {
			if _, ok := d.Parameters[name]; !ok {
				return arm.Errorf(http.StatusBadRequest, "UndefinedPolicyParameter", "The policy set definition '%s' has defined parameters '%s' which are not defined in the policy definition '%s'.", r.ID.Name(), name, d.ID)
			}
		}
	}
	s.Metadata, err = stamped(tx, s.Metadata, before)
	return err
}

func (p *Provider) releaseSet(_ context.Context, tx *rp.Tx, r *rp.Resource[rules.SetDefinition]) error {
	user, err := userOf(tx, r.ID)
	if err == nil && user != "" {
		return inUse("policy set definition", r.ID, user)
	}
	return err
}

func (p *Provider) definitionVersions() rp.Type[rules.Definition] {
	return rp.Type[rules.Definition]{
		Name: DefinitionVersionType, Kind: rp.Proxy, Versions: rp.Versions[rules.Definition](definitionVersions...),
		NamePattern: versionName, NameRule: "A version has the form 1.2.3.", StateProperty: "-", SyncDelete: true,
		NotFound: func(id arm.ID) *arm.Error {
			return arm.Errorf(http.StatusNotFound, "PolicyDefinitionVersionNotFound", "The version '%s' of the policy definition '%s' could not be found.", id.Name(), id.Parent().Name())
		},
		Default: func(_ string, r *rp.Resource[rules.Definition]) {
			r.Properties.PolicyType = cmp.Or(r.Properties.PolicyType, "Custom")
			r.Properties.Version = r.ID.Name()
		},
		Validate: func(op rp.Op, r, old *rp.Resource[rules.Definition]) error {
			if _, err := rules.Compile(&r.Properties); err != nil {
				return invalid(err)
			}
			return nil
		},
	}
}

func (p *Provider) setVersions() rp.Type[rules.SetDefinition] {
	return rp.Type[rules.SetDefinition]{
		Name: SetVersionType, Kind: rp.Proxy, Versions: rp.Versions[rules.SetDefinition](definitionVersions...),
		NamePattern: versionName, NameRule: "A version has the form 1.2.3.", StateProperty: "-", SyncDelete: true,
		NotFound: func(id arm.ID) *arm.Error {
			return arm.Errorf(http.StatusNotFound, "PolicySetDefinitionVersionNotFound", "The version '%s' of the policy set definition '%s' could not be found.", id.Name(), id.Parent().Name())
		},
		Default: func(_ string, r *rp.Resource[rules.SetDefinition]) {
			r.Properties.PolicyType = cmp.Or(r.Properties.PolicyType, "Custom")
			r.Properties.Version = r.ID.Name()
		},
	}
}

const versionName = `^\d+\.\d+\.\d+(-[A-Za-z0-9.]+)?$`
