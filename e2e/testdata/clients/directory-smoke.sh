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

# what a group has, its members have, and who leaves it has it no more: a principal that is signed in all the while
made=$(az ad sp create-for-rbac -n member --query '[appId,password,tenant]' -o tsv)
set -- $made
member=$(az ad sp show --id "$1" --query id -o tsv)
az role assignment create --assignee "$team" --role Reader --scope "$scope" -o none
az ad group member add -g "$team" --member-id "$member"
theirs=$(mktemp -d)
reads() { AZURE_CONFIG_DIR=$theirs az rest --url "https://management.azure.com$scope/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01" -o none; }
AZURE_CONFIG_DIR=$theirs az login --service-principal -u "$1" -p "$2" --tenant "$3" -o none
reads
az ad group member remove -g "$team" --member-id "$member"
said=$(reads 2>&1) && { echo "who left the group still reads" >&2; exit 1; }
case $said in *AuthorizationFailed*) ;; *) echo "$said" >&2; exit 1;; esac
az ad group member add -g "$team" --member-id "$member"
reads
az ad sp delete --id "$1"
said=$(reads 2>&1) && { echo "who was deleted still reads" >&2; exit 1; }
rm -rf "$theirs"
echo drawn
