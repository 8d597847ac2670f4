package policy_test

import (
	"net/http"
	"strings"
	"testing"

	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
)

const denyPublic = `{"mode":"All","displayName":"No public blobs","parameters":{"effect":{"type":"String","allowedValues":["Deny","Audit","Disabled"],"defaultValue":"Deny"}},
 "policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Storage/storageAccounts"},{"field":"Microsoft.Storage/storageAccounts/allowBlobPublicAccess","equals":true}]},"then":{"effect":"[parameters('effect')]"}}}`

func TestDenyNamesThePolicy(t *testing.T) {
	r := newRig(t)
	r.define("nopublic", denyPublic)
	if a := r.assign("a1", definitions+"nopublic", ""); a.Status != 201 {
		t.Fatal(a.Text)
	}
	bad := `{"location":"westeurope","properties":{"allowBlobPublicAccess":true}}`
	a := r.Request("PUT", account+api, bad)
	wantCode(t, a, 403, "RequestDisallowedByPolicy")
	want := `Resource 'acct' was disallowed by policy. Policy identifiers: '[{"policyAssignment":{"name":"a1","id":"` + assignments + `a1"},"policyDefinition":{"name":"No public blobs","id":"` + definitions + `nopublic"}}]'.`
	if got := a.String("error", "message"); got != want {
		t.Errorf("message\n%s\nwant\n%s", got, want)
	}
	if a.String("error", "target") != "acct" || !strings.Contains(a.Text, `"type":"PolicyViolation"`) || !strings.Contains(a.Text, `"expression":"Microsoft.Storage/storageAccounts/allowBlobPublicAccess"`) {
		t.Errorf("%s", a.Text)
	}
	r.Must("PUT", account+api, `{"location":"westeurope","properties":{"allowBlobPublicAccess":false}}`)
	// a PATCH is evaluated as the resource that it makes
	wantCode(t, r.Request("PATCH", account+api, `{"properties":{"allowBlobPublicAccess":true}}`), 403, "RequestDisallowedByPolicy")
	r.Must("PATCH", account+api, `{"properties":{"networkAcls":{"defaultAction":"Deny"}}}`)
	// with a message the refusal says it
	r.Must("PUT", assignments+"a1"+v, `{"properties":{"policyDefinitionId":"`+definitions+`nopublic","nonComplianceMessages":[{"message":"Blobs are private here."}]}}`)
	a = r.Request("PUT", account+api, bad)
	if got := a.String("error", "message"); got != "Resource 'acct' was disallowed by policy. Reasons: 'Blobs are private here.'. See error details for policy resource IDs." {
		t.Errorf("message %s", got)
	}
}

func TestWhatIsNotEnforced(t *testing.T) {
	bad := `{"location":"westeurope","properties":{"allowBlobPublicAccess":true}}`
	for name, c := range map[string]struct {
		more   string
		status int
	}{
		"enforced":            {``, 403},
		"DoNotEnforce":        {`"enforcementMode":"DoNotEnforce"`, 201},
		"disabled":            {`"parameters":{"effect":{"value":"Disabled"}}`, 201},
		"audited":             {`"parameters":{"effect":{"value":"Audit"}}`, 201},
		"excluded":            {`"notScopes":["` + group + `"]`, 201},
		"excluded elsewhere":  {`"notScopes":["` + sub + `/resourceGroups/rg2"]`, 403},
		"selected by place":   {`"resourceSelectors":[{"name":"s","selectors":[{"kind":"resourceLocation","in":["West Europe"]}]}]`, 403},
		"not selected":        {`"resourceSelectors":[{"name":"s","selectors":[{"kind":"resourceLocation","notIn":["westeurope"]}]}]`, 201},
		"overridden":          {`"overrides":[{"kind":"policyEffect","value":"disabled"}]`, 201},
		"overridden by place": {`"overrides":[{"kind":"policyEffect","value":"audit","selectors":[{"kind":"resourceLocation","in":["eastus2"]}]}]`, 403},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.define("nopublic", denyPublic)
			if a := r.assign("a1", definitions+"nopublic", c.more); a.Status != 201 {
				t.Fatal(a.Text)
			}
			if a := r.Request("PUT", account+api, bad); a.Status != c.status {
				t.Errorf("%d %s", a.Status, a.Text)
			}
		})
	}
}

func TestScopesAndManagementGroups(t *testing.T) {
	const root = "/providers/Microsoft.Management/managementGroups/root"
	bad := `{"location":"westeurope","properties":{"allowBlobPublicAccess":true}}`
	for _, scope := range []string{root, sub, group, account} {
		r := newRig(t)
		r.Must("PUT", root+auth+"policyDefinitions/d"+v, `{"properties":`+denyPublic+`}`)
		if scope == account {
			r.Must("PUT", account+api, `{"location":"westeurope"}`)
		}
		r.Must("PUT", scope+auth+"policyAssignments/a"+v, `{"properties":{"policyDefinitionId":"`+root+auth+`policyDefinitions/d"}}`)
		wantCode(t, r.Request("PUT", account+api, bad), 403, "RequestDisallowedByPolicy")
		if scope == group {
			r.Must("PUT", sub+"/resourceGroups/rg2?api-version=2024-11-01", `{"location":"westeurope"}`)
			if a := r.Request("PUT", sub+"/resourceGroups/rg2/providers/"+storageType+"/acct"+api, bad); a.Status != 201 {
				t.Errorf("in another group: %d %s", a.Status, a.Text)
			}
		}
	}
	// a definition must be at or above where it is assigned
	r := newRig(t)
	r.define("d", denyPublic)
	wantCode(t, r.Request("PUT", root+auth+"policyAssignments/a"+v, `{"properties":{"policyDefinitionId":"`+definitions+`d"}}`), 400, "InvalidCreatePolicyAssignmentRequest")
}

func TestExemptionsExpire(t *testing.T) {
	r := newRig(t)
	r.define("nopublic", denyPublic)
	r.assign("a1", definitions+"nopublic", "")
	bad := `{"location":"westeurope","properties":{"allowBlobPublicAccess":true}}`
	until := r.clock.Now().AddDate(0, 0, 3).Format("2006-01-02T15:04:05Z")
	exemption := group + auth + "policyExemptions/e"
	r.Must("PUT", exemption+ve, `{"properties":{"policyAssignmentId":"`+assignments+`a1","exemptionCategory":"Waiver","expiresOn":"`+until+`"}}`)
	r.Must("PUT", account+api, bad)
	r.forward(4 * 24 * 60 * 60 * 1e9)
	wantCode(t, r.Request("PUT", account+api, bad), 403, "RequestDisallowedByPolicy")
	wantCode(t, r.Request("PUT", exemption+ve, `{"properties":{"policyAssignmentId":"`+assignments+`none","exemptionCategory":"Waiver"}}`), 404, "PolicyAssignmentNotFound")
	wantCode(t, r.Request("PUT", exemption+ve, `{"properties":{"policyAssignmentId":"`+assignments+`a1","exemptionCategory":"Because"}}`), 400, "InvalidPolicyExemption")
	r.Deny(rptest.Owner, "Microsoft.Authorization/policyAssignments/exempt/action", "no")
	wantCode(t, r.Request("PUT", exemption+ve, `{"properties":{"policyAssignmentId":"`+assignments+`a1","exemptionCategory":"Mitigated"}}`), 403, "LinkedAuthorizationFailed")
}

func TestModifyRewritesTheBody(t *testing.T) {
	r := newRig(t)
	const inherit = "/providers/Microsoft.Authorization/policyDefinitions/cd3aa116-8754-49c9-a813-ad46512ece54" // Inherit a tag from the resource group
	if a := r.assign("tag", inherit, `"parameters":{"tagName":{"value":"costCenter"}}`); a.Status != 201 {
		t.Fatal(a.Text)
	}
	a := r.Must("PUT", account+api, `{"location":"westeurope","tags":{"a":"b"}}`)
	if a.String("tags", "costCenter") != "42" || a.String("tags", "a") != "b" {
		t.Errorf("tags %s", a.Text)
	}
	a = r.Must("PATCH", account+api, `{"tags":{"costCenter":"13"}}`)
	if a.String("tags", "costCenter") != "42" {
		t.Errorf("after a PATCH: %s", a.Text)
	}
	// a tag that the group lacks is not inherited
	if a := r.assign("tag2", inherit, `"parameters":{"tagName":{"value":"owner"}}`); a.Status != 201 {
		t.Fatal(a.Text)
	}
	a = r.Must("PUT", account+api, `{"location":"westeurope"}`)
	if a.String("tags", "owner") != "" {
		t.Errorf("%s", a.Text)
	}
	// properties, and a deny that sees what was made of them
	r.define("private", `{"mode":"All","policyRule":{"if":{"field":"type","equals":"`+storageType+`"},"then":{"effect":"modify","details":{"roleDefinitionIds":["/x"],"operations":[
	 {"operation":"addOrReplace","field":"Microsoft.Storage/storageAccounts/allowBlobPublicAccess","value":false},
	 {"operation":"addOrReplace","field":"Microsoft.Storage/storageAccounts/networkAcls.defaultAction","value":"Deny","condition":"[greaterOrEquals(requestContext().apiVersion, '2020-01-01')]"}]}}}}`)
	r.define("nopublic", denyPublic)
	r.assign("private", definitions+"private", "")
	r.assign("nopublic", definitions+"nopublic", "")
	a = r.Must("PUT", account+api, `{"location":"westeurope","properties":{"allowBlobPublicAccess":true}}`)
	if !strings.Contains(a.Text, `"allowBlobPublicAccess":false`) || !strings.Contains(a.Text, `"defaultAction":"Deny"`) {
		t.Errorf("%s", a.Text)
	}
	a = r.Must("PUT", account+"?api-version=2019-01-01", `{"location":"westeurope"}`)
	if strings.Contains(a.Text, `"defaultAction":"Deny"`) {
		t.Errorf("an operation whose condition is false was made: %s", a.Text)
	}
}

func TestAppend(t *testing.T) {
	r := newRig(t)
	rule := func(field, value string) string {
		return `{"mode":"All","policyRule":{"if":{"field":"type","equals":"` + storageType + `"},"then":{"effect":"append","details":[{"field":"` + field + `","value":` + value + `}]}}}`
	}
	r.define("ip", rule("Microsoft.Storage/storageAccounts/networkAcls.ipRules[*]", `{"value":"40.40.40.40","action":"Allow"}`))
	r.define("acl", rule("Microsoft.Storage/storageAccounts/networkAcls.defaultAction", `"Deny"`))
	r.assign("ip", definitions+"ip", "")
	r.assign("acl", definitions+"acl", "")
	a := r.Must("PUT", account+api, `{"location":"westeurope","properties":{"networkAcls":{"ipRules":[{"value":"1.2.3.4"}]}}}`)
	if !strings.Contains(a.Text, "1.2.3.4") || !strings.Contains(a.Text, "40.40.40.40") || !strings.Contains(a.Text, `"defaultAction":"Deny"`) {
		t.Errorf("%s", a.Text)
	}
	wantCode(t, r.Request("PUT", account+api, `{"location":"westeurope","properties":{"networkAcls":{"defaultAction":"Allow"}}}`), 403, "RequestDisallowedByPolicy")
}

func TestConflictingChanges(t *testing.T) {
	rule := func(value, conflict string) string {
		return `{"mode":"Indexed","policyRule":{"if":{"field":"type","equals":"` + storageType + `"},"then":{"effect":"modify","details":{"conflictEffect":"` + conflict + `","roleDefinitionIds":["/x"],"operations":[{"operation":"addOrReplace","field":"tags['env']","value":"` + value + `"}]}}}}`
	}
	for _, c := range []struct {
		first, second string
		status        int
		tag           string
	}{
		{"deny", "deny", 403, ""},
		{"deny", "audit", 201, "one"},
		{"audit", "deny", 201, "two"},
		{"audit", "audit", 201, ""},
	} {
		r := newRig(t)
		r.define("d1", rule("one", c.first))
		r.define("d2", rule("two", c.second))
		r.assign("a1", definitions+"d1", "")
		r.assign("a2", definitions+"d2", "")
		a := r.Request("PUT", account+api, `{"location":"westeurope"}`)
		if a.Status != c.status || a.Status < 300 && a.String("tags", "env") != c.tag {
			t.Errorf("%s and %s: %d %s", c.first, c.second, a.Status, a.Text)
		}
	}
}

func TestTagPatchesAskTagRulesOnly(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", account+api, `{"location":"westeurope","properties":{"allowBlobPublicAccess":true}}`)
	r.define("nopublic", denyPublic)
	r.assign("a1", definitions+"nopublic", "")
	r.Must("PATCH", account+api, `{"tags":{"a":"b"}}`)
	wantCode(t, r.Request("PATCH", account+api, `{"tags":{"a":"b"},"properties":{}}`), 403, "RequestDisallowedByPolicy")
	r.define("needtag", `{"mode":"Indexed","policyRule":{"if":{"field":"tags['owner']","exists":false},"then":{"effect":"deny"}}}`)
	r.assign("a2", definitions+"needtag", "")
	wantCode(t, r.Request("PATCH", account+api, `{"tags":{"a":"c"}}`), 403, "RequestDisallowedByPolicy")
	r.Must("PATCH", account+api, `{"tags":{"owner":"me"}}`)
}

func TestDenyAction(t *testing.T) {
	r := newRig(t)
	const keep = "/providers/Microsoft.Authorization/policyDefinitions/78460a36-508a-49a4-b2b2-2f5ec564f4bb" // mode All
	r.Must("PUT", account+api, `{"location":"westeurope"}`)
	r.assign("keep", keep, `"parameters":{"listOfResourceTypesDisallowedForDeletion":{"value":["`+storageType+`"]}}`)
	a := r.Request("DELETE", account+api, "")
	wantCode(t, a, 403, "RequestDisallowedByPolicy")
	if !strings.HasPrefix(a.String("error", "message"), "Deletion of resource 'acct' was disallowed by policy.") {
		t.Errorf("%s", a.Text)
	}
	// a group goes all the same with a mode All, and does not with Indexed
	r.define("keep", `{"mode":"Indexed","policyRule":{"if":{"field":"type","equals":"`+storageType+`"},"then":{"effect":"denyAction","details":{"actionNames":["delete"],"cascadeBehaviors":{"resourceGroup":"deny"}}}}}`)
	r.assign("keep2", definitions+"keep", "")
	wantCode(t, r.Request("DELETE", group+"?api-version=2024-11-01", ""), 403, "RequestDisallowedByPolicy")
	r.Must("DELETE", assignments+"keep2"+v, "")
	r.Must("DELETE", group+"?api-version=2024-11-01", "")
}

func TestChildrenInTheirParent(t *testing.T) {
	r := newRig(t)
	// as in Azure: the alias of the parent sees embedded subnets, a rule on the subnets' type does not
	r.define("parent", `{"mode":"All","policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Network/virtualNetworks"},{"count":{"field":"Microsoft.Network/virtualNetworks/subnets[*]","where":{"field":"Microsoft.Network/virtualNetworks/subnets[*].networkSecurityGroup.id","exists":false}},"greater":0}]},"then":{"effect":"deny"}}}`)
	r.define("child", `{"mode":"All","policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Network/virtualNetworks/subnets"},{"field":"Microsoft.Network/virtualNetworks/subnets/networkSecurityGroup.id","exists":false}]},"then":{"effect":"deny"}}}`)
	body := `{"location":"westeurope","properties":{"subnets":[{"name":"a","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`
	r.assign("child", definitions+"child", "")
	r.Must("PUT", vnet+api, body)
	wantCode(t, r.Request("PUT", vnet+"/subnets/b"+api, `{"properties":{}}`), 403, "RequestDisallowedByPolicy")
	r.assign("parent", definitions+"parent", "")
	wantCode(t, r.Request("PUT", vnet+api, body), 403, "RequestDisallowedByPolicy")
	wantCode(t, r.Request("PATCH", vnet+api, `{"properties":{"x":1}}`), 403, "RequestDisallowedByPolicy")
	r.Must("PUT", vnet+api, `{"location":"westeurope","properties":{"subnets":[{"name":"a","properties":{"networkSecurityGroup":{"id":"/x"}}}]}}`)
}

func TestGroupsAndLocations(t *testing.T) {
	r := newRig(t)
	const allowed = "/providers/Microsoft.Authorization/policyDefinitions/e765b5de-1225-4ba3-bd56-1ac6695af988" // Allowed locations for resource groups
	r.assign("loc", allowed, `"parameters":{"listOfAllowedLocations":{"value":["West Europe"]}}`)
	r.Must(http.MethodPut, sub+"/resourceGroups/ok?api-version=2024-11-01", `{"location":"westeurope"}`)
	wantCode(t, r.Request(http.MethodPut, sub+"/resourceGroups/no?api-version=2024-11-01", `{"location":"East US 2"}`), 403, "RequestDisallowedByPolicy")
}

func TestSecretsAreNotTold(t *testing.T) {
	r := newRig(t)
	r.define("pw", `{"mode":"All","policyRule":{"if":{"field":"Microsoft.Storage/storageAccounts/password","like":"hunter*"},"then":{"effect":"deny"}}}`)
	r.assign("pw", definitions+"pw", "")
	a := r.Request("PUT", account+api, `{"location":"westeurope","properties":{"password":"hunter2"}}`)
	wantCode(t, a, 403, "RequestDisallowedByPolicy")
	if strings.Contains(a.Text, "hunter2") {
		t.Errorf("%s", a.Text)
	}
}

func TestFailedEvaluationRefuses(t *testing.T) {
	r := newRig(t)
	r.define("bad", `{"mode":"All","policyRule":{"if":{"value":"[substring(field('name'), 0, 30)]","equals":"x"},"then":{"effect":"audit"}}}`)
	r.assign("bad", definitions+"bad", "")
	a := r.Request("PUT", account+api, `{"location":"westeurope"}`)
	wantCode(t, a, 403, "RequestDisallowedByPolicy")
	if !strings.Contains(a.Text, "substring") {
		t.Errorf("the reason is not told: %s", a.Text)
	}
}

// TestSecondFactorPolicy: Azure's policy that asks for multi-factor authentication lets those in who proved a second factor, and
// programs.
func TestSecondFactorPolicy(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", assignments+"mfa"+v, `{"properties":{"policyDefinitionId":"/providers/Microsoft.Authorization/policyDefinitions/4e6c27d5-a6ee-49cf-b2b4-d8fe90fa2b8b","parameters":{"effect":{"value":"Deny"}}}}`)
	person := func(methods ...string) authz.Principal {
		return authz.Principal{TenantID: rptest.Owner.TenantID, ObjectID: "33333333-0000-0000-0000-000000000001", Type: "User", Methods: methods}
	}
	for name, c := range map[string]struct {
		who  authz.Principal
		want int
	}{
		"a password":      {person("pwd"), 403},
		"nothing told":    {person(), 403},
		"a second factor": {person("pwd", "otp", "mfa"), 201},
		"a program":       {authz.Principal{TenantID: rptest.Owner.TenantID, ObjectID: "33333333-0000-0000-0000-000000000002", Type: "ServicePrincipal"}, 201},
	} {
		a := r.As(c.who, "PUT", account+strings.ReplaceAll(name, " ", "")+api, `{"location":"westeurope"}`)
		if a.Status != c.want || c.want == 403 && !strings.Contains(a.Text, "RequestDisallowedByPolicy") {
			t.Errorf("%s: %d %s", name, a.Status, a.Text)
		}
	}
}
