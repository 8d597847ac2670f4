# The shortest way through `az ad`: a person and a group get a role and lose it; directory.sh is the long way.
set -euo pipefail
export AZURE_CORE_NO_COLOR=1 AZURE_CORE_ONLY_SHOW_ERRORS=1
domain=$(az rest --url https://graph.microsoft.com/v1.0/domains --query 'value[0].id' -o tsv)
scope=/subscriptions/$(az account show --query id -o tsv)
eva=$(az ad user create --display-name Eva --user-principal-name "eva@$domain" --password 'Not-In-A-Log-8' --query id -o tsv)
team=$(az ad group create --display-name team --mail-nickname team --query id -o tsv)
az ad group member add -g "$team" --member-id "$eva"
az role assignment create --assignee "$team" --role Reader --scope "$scope" -o none
[ "$(az role assignment list --assignee "eva@$domain" --include-groups --scope "$scope" --query '[0].principalName' -o tsv)" = team ]
az role assignment delete --assignee "$team" --role Reader --scope "$scope"
[ "$(az role assignment list --assignee "$team" --scope "$scope" --query 'length(@)' -o tsv)" = 0 ]
echo drawn
