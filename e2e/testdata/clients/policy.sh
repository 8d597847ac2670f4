# What `az policy` does, by the unmodified client. is WANT COMMAND…: az's answer is WANT; no TEXT COMMAND…: az refuses
# and says TEXT.
set -euo pipefail
export AZURE_CORE_NO_COLOR=1 AZURE_CORE_ONLY_SHOW_ERRORS=1
is() {
	local want=$1; shift
	local got; got=$(az "$@" -o tsv)
	[ "$got" = "$want" ] || { echo "az $*: $got, want $want" >&2; exit 1; }
}
no() {
	local text=$1; shift
	local said; if said=$(az "$@" -o none 2>&1); then echo "az $* succeeded, want $text" >&2; exit 1; fi
	case $said in *"$text"*) ;; *) echo "az $*: $said; want $text" >&2; exit 1;; esac
}
do_() { az "$@" -o none; }

sub=/subscriptions/$(az account show --query id -o tsv)
auth=$sub/providers/Microsoft.Authorization
gov=$sub/resourceGroups/gov
do_ group create -n gov -l westeurope --tags costCenter=42

# definitions
is 262 policy definition list --query "length([?policyType=='BuiltIn'])"
is BuiltIn policy definition show -n 7f40cee6-e933-4d0f-a782-b96615e0f4a6 --query policyType
is 1.0.0 policy definition version list -n 7f40cee6-e933-4d0f-a782-b96615e0f4a6 --query '[0].name'
do_ policy definition create -n nopublic --display-name 'No public blobs' --mode All \
	--params '{"effect":{"type":"String","allowedValues":["Audit","Deny","Disabled"],"defaultValue":"Deny"}}' \
	--rules '{"if":{"allOf":[{"field":"type","equals":"Microsoft.Storage/storageAccounts"},{"field":"Microsoft.Storage/storageAccounts/allowBlobPublicAccess","equals":true}]},"then":{"effect":"[parameters('"'effect'"')]"}}'
no InvalidPolicyRule policy definition create -n bad --rules '{"if":{"field":"nonsense","equals":"x"},"then":{"effect":"deny"}}'
is 'Blobs are private.' policy definition update -n nopublic --description 'Blobs are private.' --query description
is Custom policy definition list --query "[?name=='nopublic'] | [0].policyType"

# an assignment denies, and says which policy it was
is Default policy assignment create -n deny --policy nopublic --query enforcementMode
no '(RequestDisallowedByPolicy)' storage account create -n govpublic -g gov -l westeurope --allow-blob-public-access true
no 'No public blobs' storage account create -n govpublic -g gov -l westeurope --allow-blob-public-access true
do_ policy assignment non-compliance-message create --name deny --message 'Blobs are private here.'
no "Reasons: 'Blobs are private here.'" storage account create -n govpublic -g gov -l westeurope --allow-blob-public-access true
no PolicyDefinitionInUse policy definition delete -n nopublic
no PolicyParameterValueNotAllowed policy assignment create -n wrong --policy nopublic --params '{"effect":{"value":"deny"}}'

# an exemption, states and events
do_ policy exemption create -n waived --policy-assignment "$auth/policyAssignments/deny" --exemption-category Waiver --scope "$gov"
do_ storage account create -n govwaived -g gov -l westeurope --allow-blob-public-access true
is waived policy exemption list -g gov --query '[0].name'
is Exempt policy state list --resource "$gov/providers/Microsoft.Storage/storageAccounts/govwaived" --query '[0].complianceState'
do_ policy exemption delete -n waived --scope "$gov"
do_ policy state trigger-scan
is NonCompliant policy state list --resource "$gov/providers/Microsoft.Storage/storageAccounts/govwaived" --query '[0].complianceState'
is 1 policy state list --filter "complianceState eq 'NonCompliant'" --query 'length(@)'
is 1 policy state list --apply "groupby((policyAssignmentName), aggregate(\$count as n))" --query '[0].n'
is 1 policy state summarize --query results.nonCompliantResources
is 3 policy event list --query "length([?policyDefinitionAction=='deny'])"

# tags are inherited by what is new, and remediation gives them to what was there
no 'managed identity' policy assignment create -n inherit --policy cd3aa116-8754-49c9-a813-ad46512ece54 --params '{"tagName":{"value":"costCenter"}}'
is SystemAssigned policy assignment create -n inherit --policy cd3aa116-8754-49c9-a813-ad46512ece54 --params '{"tagName":{"value":"costCenter"}}' \
	--mi-system-assigned -l westeurope --role Contributor --identity-scope "$sub" --query identity.type
is 42 network vnet create -n tagged -g gov --query newVNet.tags.costCenter
do_ policy remediation create -n fix --policy-assignment inherit
until case $(az policy remediation show -n fix --query provisioningState -o tsv) in Succeeded|Failed) ;; *) false ;; esac; do :; done
is Succeeded policy remediation show -n fix --query provisioningState
is 42 storage account show -n govwaived -g gov --query tags.costCenter
is Succeeded policy remediation deployment list -n fix --query '[0].status'
do_ policy remediation delete -n fix

# an initiative, its parameters and groups
do_ policy set-definition create -n baseline --params '{"eff":{"type":"String","defaultValue":"Audit"}}' --definition-groups '[{"name":"storage"}]' \
	--definitions "[{\"policyDefinitionId\":\"$auth/policyDefinitions/nopublic\",\"policyDefinitionReferenceId\":\"public\",\"groupNames\":[\"storage\"],\"parameters\":{\"effect\":{\"value\":\"[parameters('eff')]\"}}}]"
do_ policy assignment create -n base --policy-set-definition baseline
is storage policy state list --policy-set-definition baseline --query '[0].policyDefinitionGroupNames[0]'
is base policy assignment list --query "[?name=='base'].name"
do_ policy assignment delete -n base
do_ policy set-definition delete -n baseline

# manual, attested
do_ policy definition create -n manual --mode All --rules '{"if":{"field":"type","equals":"Microsoft.Resources/subscriptions"},"then":{"effect":"manual","details":{"defaultState":"Unknown"}}}'
do_ policy assignment create -n manual --policy manual
is Unknown policy state list --policy-assignment manual --query '[0].complianceState'
do_ policy attestation create --attestation-name seen --policy-assignment-id "$auth/policyAssignments/manual" --compliance-state Compliant
is Compliant policy state list --policy-assignment manual --query '[0].complianceState'
do_ policy metadata list

# the two of a workspace: a customer-managed key and a private link, audited, then denied
do_ storage account create -n govws -g gov -l westeurope
do_ keyvault create -n govws -g gov -l westeurope
ws="https://management.azure.com$gov/providers/Microsoft.MachineLearningServices/workspaces"
body="{\"location\":\"westeurope\",\"identity\":{\"type\":\"SystemAssigned\"},\"properties\":{\"storageAccount\":\"$gov/providers/Microsoft.Storage/storageAccounts/govws\",\"keyVault\":\"$gov/providers/Microsoft.KeyVault/vaults/govws\"}}"
cmk=ba769a63-b8cc-4b2d-abf6-ac33c7204be8 link=40cec1dd-a100-4920-b15b-3024fe8901ab
do_ policy assignment create -n audit-cmk --policy $cmk --params '{"effect":{"value":"Audit"}}'
do_ policy assignment create -n audit-link --policy $link --params '{"effect":{"value":"Audit"}}'
do_ rest --method put --url "$ws/audited?api-version=2024-10-01" --body "$body"
is NonCompliant policy state list --policy-assignment audit-cmk --query '[0].complianceState'
is NonCompliant policy state list --policy-assignment audit-link --query '[0].complianceState'
for p in $cmk $link; do
	do_ policy assignment create -n deny-it --policy $p --params '{"effect":{"value":"Deny"}}'
	no RequestDisallowedByPolicy rest --method put --url "$ws/denied?api-version=2024-10-01" --body "$body"
	do_ policy assignment delete -n deny-it
done
echo governed
