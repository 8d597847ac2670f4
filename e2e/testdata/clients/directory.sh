# What `az ad` and `az role assignment` do with the directory, by the unmodified client. is WANT COMMAND…: az's answer
# is WANT; no TEXT COMMAND…: az fails and says TEXT.
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
domain=$(az rest --url https://graph.microsoft.com/v1.0/domains --query 'value[0].id' -o tsv)
sub=$(az account show --query id -o tsv)

# users
ana=$(az ad user create --display-name Ana --user-principal-name "ana@$domain" --password 'Not-In-A-Log-7' --force-change-password-next-sign-in true --query id -o tsv)
no 'userPrincipalName already exists' ad user create --display-name Ana --user-principal-name "ANA@$domain" --password 'Not-In-A-Log-7'
no 'password complexity' ad user update --id "ana@$domain" --password short
is "$ana" ad user show --id "ana@$domain" --query id
is Ana ad user list --upn "ana@$domain" --query '[0].displayName'
do_ ad user update --id "$ana" --display-name 'Ana N.' --account-enabled false
is 'Ana N.' ad user list --filter "startswith(displayName,'Ana')" --query '[0].displayName'
no "/me request is only valid" ad signed-in-user show

# groups
inner=$(az ad group create --display-name inner --mail-nickname inner --query id -o tsv)
is "$inner" ad group create --display-name inner --mail-nickname inner --query id
outer=$(az ad group create --display-name outer --mail-nickname outer --description 'all of them' --query id -o tsv)
do_ ad group member add -g "$inner" --member-id "$ana"
do_ ad group member add -g "$outer" --member-id "$inner"
no 'already exist' ad group member add -g "$inner" --member-id "$ana"
is true ad group member check -g "$outer" --member-id "$ana" --query value
is Ana\ N. ad group member list -g "$inner" --query '[0].displayName'
is 2 ad user get-member-groups --id "$ana" --query 'length(@)'
is inner ad group list --display-name inn --query '[0].displayName'
do_ ad group owner add -g "$inner" --owner-object-id "$ana"
is "$ana" ad group owner list -g "$inner" --query '[0].id'

# roles of groups: what is assigned is found by the member too
do_ role assignment create --assignee "$outer" --role Reader --scope "/subscriptions/$sub"
is Group role assignment list --assignee "$outer" --scope "/subscriptions/$sub" --query '[0].principalType'
is Reader role assignment list --assignee "ana@$domain" --include-groups --scope "/subscriptions/$sub" --query '[0].roleDefinitionName'
is outer role assignment list --assignee "$outer" --scope "/subscriptions/$sub" --query '[0].principalName'
do_ role assignment create --assignee "ana@$domain" --role Contributor --scope "/subscriptions/$sub"
is "ana@$domain" role assignment list --assignee "$ana" --scope "/subscriptions/$sub" --query "[?roleDefinitionName=='Contributor'] | [0].principalName"
do_ role assignment delete --assignee "ana@$domain" --role Contributor --scope "/subscriptions/$sub"
is '' role assignment list --assignee "$ana" --scope "/subscriptions/$sub" --query "[?roleDefinitionName=='Contributor'] | [0].principalName"

# applications and service principals
app=$(az ad app create --display-name api --identifier-uris "api://$domain/api" --web-redirect-uris https://x.test/cb --sign-in-audience AzureADMyOrg --query appId -o tsv)
no 'identifierUris' ad app create --display-name other --identifier-uris "api://$domain/api"
is "$app" ad app show --id "api://$domain/api" --query appId
do_ ad app update --id "$app" --web-home-page-url https://x.test --set 'notes="kept"'
is kept ad app show --id "$app" --query notes
is https://x.test/cb ad app show --id "$app" --query 'web.redirectUris[0]'
do_ ad app permission add --id "$app" --api 00000003-0000-0000-c000-000000000000 --api-permissions e1fe6dd8-ba31-4d61-89e7-88639da4683d=Scope
is e1fe6dd8-ba31-4d61-89e7-88639da4683d ad app permission list --id "$app" --query '[0].resourceAccess[0].id'
sp=$(az ad sp create --id "$app" --query id -o tsv)
is "$sp" ad sp show --id "api://$domain/api" --query id
do_ ad app permission grant --id "$app" --api 00000003-0000-0000-c000-000000000000 --scope User.Read
is 'Microsoft Graph' ad app permission list-grants --id "$app" --show-resource-name --query '[0].resourceDisplayName'
secret=$(az ad app credential reset --id "$app" --display-name one --query password -o tsv)
[ -n "$secret" ]
do_ ad app credential reset --id "$app" --append --create-cert
is 1 ad app credential list --id "$app" --cert --query 'length(@)'
is one ad app credential list --id "$app" --query '[0].displayName'
do_ ad app federated-credential create --id "$app" --parameters '{"name":"gh-main","issuer":"https://token.actions.githubusercontent.com","subject":"repo:a/b:ref:refs/heads/main","audiences":["api://AzureADTokenExchange"]}'
is gh-main ad app federated-credential list --id "$app" --query '[0].name'
do_ ad app federated-credential update --id "$app" --federated-credential-id gh-main --parameters '{"subject":"repo:a/b:environment:prod"}'
is repo:a/b:environment:prod ad app federated-credential show --id "$app" --federated-credential-id gh-main --query subject
do_ ad app federated-credential delete --id "$app" --federated-credential-id gh-main
do_ ad app owner add --id "$app" --owner-object-id "$ana"
is "$ana" ad app owner list --id "$app" --query '[0].id'
do_ ad sp update --id "$sp" --set 'tags=["x"]'
is x ad sp show --id "$sp" --query 'tags[0]'
is "Microsoft Graph" ad sp show --id 00000003-0000-0000-c000-000000000000 --query displayName

# a principal for a pipeline; it signs in, and its secret's end is its end
made=$(az ad sp create-for-rbac -n pipeline --role Reader --scopes "/subscriptions/$sub" --query '[appId,password,tenant]' -o tsv)
set -- $made
AZURE_CONFIG_DIR=$(mktemp -d) bash -c 'az login --service-principal -u "$0" -p "$1" --tenant "$2" -o none && az group list -o none' "$1" "$2" "$3"
is 1 ad sp list --display-name pipeline --query 'length(@)'
do_ ad sp delete --id "$1"
no 'does not exist' ad sp show --id "$1"

# deleted, and back
do_ ad app delete --id "$app"
no "doesn't exist" ad app show --id "api://$domain/api"
do_ ad group delete -g "$inner"
is 0 ad user get-member-groups --id "$ana" --query 'length(@)'
do_ ad user delete --id "$ana"
no Request_ResourceNotFound rest --url "https://graph.microsoft.com/v1.0/users/$ana"
do_ rest --method post --url "https://graph.microsoft.com/v1.0/directory/deletedItems/$ana/restore"
is "$ana" ad user show --id "ana@$domain" --query id
echo drawn
