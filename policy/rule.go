package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// The effects, in lower case ("Azure Policy definitions effect basics").
const (
	Disabled          = "disabled"
	Append            = "append"
	Modify            = "modify"
	Deny              = "deny"
	Audit             = "audit"
	Manual            = "manual"
	AuditIfNotExists  = "auditifnotexists"
	DeployIfNotExists = "deployifnotexists"
	DenyAction        = "denyaction"
	AuditAction       = "auditaction"
)

// supported are the effects that are evaluated here, as Azure spells them.
var supported = map[string]string{
	Disabled: "Disabled", Append: "Append", Modify: "Modify", Deny: "Deny", Audit: "Audit", Manual: "Manual",
	AuditIfNotExists: "AuditIfNotExists", DeployIfNotExists: "DeployIfNotExists", DenyAction: "DenyAction", AuditAction: "AuditAction",
}

// foreign are Azure's effects that need a data plane that asks policy.
var foreign = map[string]string{
	"mutate": "Mutate", "addtonetworkgroup": "AddToNetworkGroup", "enforcesetting": "EnforceSetting",
	"enforceopaconstraint": "EnforceOPAConstraint", "enforceregopolicy": "EnforceRegoPolicy",
}

// EffectName spells an effect as Azure does.
func EffectName(effect string) string {
	if s, ok := supported[effect]; ok {
		return s
	}
	if s, ok := foreign[effect]; ok {
		return s
	}
	return effect
}

// rule is a compiled policy rule.
type rule struct {
	cond   node
	effect *value
	// of append and modify
	operations []*operation
	conflict   *value // conflictEffect
	roles      []string
	// of auditIfNotExists and deployIfNotExists
	existence *existence
	// of denyAction
	actions []string
	cascade string // cascadeBehaviors.resourceGroup
	// of manual
	defaultState string
	details      bool
}

// operation is one change of append or modify.
type operation struct {
	kind      string // add, addorreplace, replace, remove; append
	field     *value
	value     *value // nil for remove
	condition *value
}

// existence is what auditIfNotExists and deployIfNotExists look for.
type existence struct {
	typ, name, group, scope *value
	condition               node
	deployment              json.RawMessage
	deploymentScope         *value
	delay                   *value
}

// compileRule checks and compiles a policy rule. Errors are *Error.
func compileRule(raw json.RawMessage) (*rule, error) {
	var top map[string]json.RawMessage
	if err := decode(raw, &top); err != nil || top == nil {
		return nil, errorf("InvalidPolicyRule", "the policy rule needs 'if' and 'then'")
	}
	var cond, then json.RawMessage
	for _, name := range slices.Sorted(maps.Keys(top)) {
		switch strings.ToLower(name) {
		case "if":
			cond = top[name]
		case "then":
			then = top[name]
		default:
			return nil, errorf("InvalidPolicyRule", "'%s' is not a member of a policy rule", name)
		}
	}
	if cond == nil || then == nil {
		return nil, errorf("InvalidPolicyRule", "the policy rule needs 'if' and 'then'")
	}
	r := &rule{}
	var err error
	if r.cond, err = (&compiler{limit: maxConditions}).node(cond, 0); err != nil {
		return nil, err
	}
	return r, r.then(then)
}

func (r *rule) then(raw json.RawMessage) error {
	var members map[string]json.RawMessage
	if err := decode(raw, &members); err != nil || members == nil {
		return errorf("InvalidPolicyRule", "'then' needs an object with an 'effect'")
	}
	var details json.RawMessage
	for _, name := range slices.Sorted(maps.Keys(members)) {
		switch strings.ToLower(name) {
		case "effect":
			var s string
			if err := decode(members[name], &s); err != nil || s == "" {
				return errorf("InvalidPolicyRule", "'then.effect' needs the name of an effect")
			}
			var err error
			if r.effect, err = newValue(s); err != nil {
				return err
			}
			if r.effect.expr == nil && !knownEffect(s) {
				return errorf("InvalidPolicyRule", "the effect '%s' is not one that Azure Policy has", s)
			}
		case "details":
			details = members[name]
		default:
			return errorf("InvalidPolicyRule", "'%s' is not a member of 'then'", name)
		}
	}
	if r.effect == nil {
		return errorf("InvalidPolicyRule", "'then' has no 'effect'")
	}
	if details == nil {
		return nil
	}
	r.details = true
	return r.compileDetails(details)
}

func knownEffect(s string) bool {
	key := strings.ToLower(s)
	_, ours := supported[key]
	_, other := foreign[key]
	return ours || other
}

func (r *rule) compileDetails(raw json.RawMessage) error {
	var list []json.RawMessage
	if decode(raw, &list) == nil { // of append
		for _, e := range list {
			op, err := compileOperation(e, Append)
			if err != nil {
				return err
			}
			r.operations = append(r.operations, op)
		}
		return nil
	}
	var members map[string]json.RawMessage
	if err := decode(raw, &members); err != nil || members == nil {
		return errorf("InvalidPolicyRule", "'then.details' is neither an object nor an array")
	}
	x := &existence{condition: always{}}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if err := r.detail(x, strings.ToLower(name), members[name]); err != nil {
			return err
		}
	}
	if x.typ != nil {
		r.existence = x
	}
	return nil
}

func (r *rule) detail(x *existence, name string, raw json.RawMessage) (err error) {
	c := &compiler{limit: maxThenConditions}
	bad := func(want string) error { return errorf("InvalidPolicyRule", "'then.details.%s' needs %s", name, want) }
	switch name {
	case "operations":
		var list []json.RawMessage
		if err := decode(raw, &list); err != nil || len(list) == 0 {
			return bad("an array of operations")
		}
		for _, e := range list {
			op, err := compileOperation(e, Modify)
			if err != nil {
				return err
			}
			r.operations = append(r.operations, op)
		}
	case "conflicteffect":
		r.conflict, err = c.value(raw)
	case "roledefinitionids":
		if decode(raw, &r.roles) != nil {
			return bad("an array of role definition ids")
		}
	case "type":
		x.typ, err = c.value(raw)
	case "name":
		x.name, err = c.value(raw)
	case "resourcegroupname":
		x.group, err = c.value(raw)
	case "existencescope":
		x.scope, err = c.value(raw)
	case "existencecondition":
		x.condition, err = c.node(raw, 0)
	case "deployment":
		x.deployment = raw
	case "deploymentscope":
		x.deploymentScope, err = c.value(raw)
	case "evaluationdelay":
		x.delay, err = c.value(raw)
	case "actionnames":
		if decode(raw, &r.actions) != nil || len(r.actions) == 0 {
			return bad("an array of actions")
		}
	case "cascadebehaviors":
		var m map[string]string
		if decode(raw, &m) != nil {
			return bad("an object")
		}
		for k, v := range m {
			if strings.EqualFold(k, "resourceGroup") {
				r.cascade = strings.ToLower(v)
			}
		}
	case "defaultstate":
		if decode(raw, &r.defaultState) != nil {
			return bad("a compliance state")
		}
	}
	return err
}

func compileOperation(raw json.RawMessage, effect string) (*operation, error) {
	var members map[string]json.RawMessage
	if err := decode(raw, &members); err != nil || members == nil {
		return nil, errorf("InvalidPolicyRule", "an element of 'then.details' is not an object")
	}
	c := &compiler{}
	op := &operation{kind: effect}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		var err error
		switch strings.ToLower(name) {
		case "field":
			var s string
			if decode(members[name], &s) != nil || s == "" {
				return nil, errorf("InvalidPolicyRule", "an operation needs the name of a field")
			}
			if op.field, err = newValue(s); err == nil && op.field.expr == nil {
				_, err = parseField(s)
			}
		case "value":
			op.value, err = c.value(members[name])
		case "operation":
			if effect == Modify {
				err = decode(members[name], &op.kind)
				op.kind = strings.ToLower(op.kind)
			}
		case "condition":
			op.condition, err = c.value(members[name])
		default:
			err = errorf("InvalidPolicyRule", "'%s' is not a member of an operation of 'then.details'", name)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case op.field == nil:
		return nil, errorf("InvalidPolicyRule", "an operation of 'then.details' has no 'field'")
	case effect == Modify && !slices.Contains([]string{"add", "addorreplace", "replace", "remove"}, op.kind):
		return nil, errorf("InvalidPolicyRule", "the operation '%s' is not one of addOrReplace, add, replace and remove", op.kind)
	case op.kind == "remove" && op.field.expr == nil && !strings.HasPrefix(strings.ToLower(op.field.text), "tags"):
		return nil, errorf("InvalidPolicyRule", "the operation 'remove' is for tags, not for '%s'", op.field.text)
	case op.kind != "remove" && op.value == nil:
		return nil, errorf("InvalidPolicyRule", "an operation of 'then.details' has no 'value'")
	}
	return op, nil
}

// check refuses a rule that lacks what an effect of its needs. effects are those it may have.
func (r *rule) check(effects []string) error {
	lacks := func(effect, what string) error {
		return errorf("InvalidPolicyRule", "the effect '%s' needs '%s'", EffectName(effect), what)
	}
	for _, e := range effects {
		switch e = strings.ToLower(e); {
		case !knownEffect(e):
			return errorf("InvalidPolicyRule", "the effect '%s' is not one that Azure Policy has", e)
		case e == Append && len(r.operations) == 0:
			return lacks(e, "then.details")
		case e == Modify && len(r.operations) == 0:
			return lacks(e, "then.details.operations")
		case e == Modify && len(r.roles) == 0, e == DeployIfNotExists && len(r.roles) == 0:
			return lacks(e, "then.details.roleDefinitionIds")
		case (e == AuditIfNotExists || e == DeployIfNotExists) && r.existence == nil:
			return lacks(e, "then.details.type")
		case e == DeployIfNotExists && r.existence.deployment == nil:
			return lacks(e, "then.details.deployment")
		case (e == DenyAction || e == AuditAction) && len(r.actions) == 0:
			return lacks(e, "then.details.actionNames")
		}
	}
	return nil
}

// types are the resource types that the rule can hold for, in lower case; nil when it may hold for any.
func types(n node, b *Bound) map[string]bool {
	switch n := n.(type) {
	case allOf:
		var all map[string]bool
		for _, c := range n {
			t := types(c, b)
			if t == nil {
				continue
			}
			if all == nil {
				all = t
				continue
			}
			maps.DeleteFunc(all, func(k string, _ bool) bool { return !t[k] })
		}
		return all
	case anyOf:
		all := map[string]bool{}
		for _, c := range n {
			t := types(c, b)
			if t == nil {
				return nil
			}
			maps.Copy(all, t)
		}
		return all
	case *condition:
		return n.types(b)
	}
	return nil
}

func (c *condition) types(b *Bound) map[string]bool {
	if c.parsed == nil || c.parsed.kind != fieldType || c.target.varies {
		return nil
	}
	target, err := c.target.get(newRun(b, &RequestContext{}, &Resource{}))
	if err != nil {
		return nil
	}
	switch c.operator {
	case "Equals":
		target = []any{target}
	case "In":
	default:
		return nil
	}
	list, _ := target.([]any)
	all := map[string]bool{}
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil
		}
		all[strings.ToLower(s)] = true
	}
	return all
}

// readsTags says whether a condition of the rule looks at tags.
func readsTags(n node) bool {
	switch n := n.(type) {
	case allOf:
		return slices.ContainsFunc(n, readsTags)
	case anyOf:
		return slices.ContainsFunc(n, readsTags)
	case not:
		return readsTags(n.inner)
	case *condition:
		if n.parsed != nil && (n.parsed.kind == fieldTag || n.parsed.kind == fieldTags) {
			return true
		}
		for _, v := range []*value{n.field, n.value, n.target} {
			if v != nil && strings.Contains(strings.ToLower(v.text), "tags") {
				return true
			}
		}
		return n.count != nil && readsTags(n.count.where)
	}
	return false
}

// walkConditions calls f for the conditions of a rule, those in counts too.
func walkConditions(n node, f func(*condition)) {
	switch n := n.(type) {
	case allOf:
		for _, c := range n {
			walkConditions(c, f)
		}
	case anyOf:
		for _, c := range n {
			walkConditions(c, f)
		}
	case not:
		walkConditions(n.inner, f)
	case *condition:
		f(n)
		if n.count != nil {
			walkConditions(n.count.where, f)
		}
	}
}

// values are what a condition evaluates.
func (c *condition) values() []*value {
	var all []*value
	for _, v := range []*value{c.field, c.value, c.target} {
		if v != nil {
			all = append(all, v)
		}
	}
	if c.count != nil && c.count.value != nil {
		all = append(all, c.count.value)
	}
	return all
}

// walkValues calls f for the values of a rule's conditions.
func walkValues(n node, f func(*value)) {
	walkConditions(n, func(c *condition) {
		for _, v := range c.values() {
			f(v)
		}
	})
}
