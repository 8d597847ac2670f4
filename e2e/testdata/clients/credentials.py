"""Signs in by azure-identity and MSAL for Python in every way that the arguments name, as e2e/clients/go does for Go:
prints for each the object id of whom the token speaks, or "!" and the error."""
import base64, json, os, sys
import msal, requests
from azure.identity import (AzureCliCredential, CertificateCredential, ClientAssertionCredential, ClientSecretCredential, DefaultAzureCredential,
                            EnvironmentCredential, ManagedIdentityCredential, WorkloadIdentityCredential)

env, arm = os.environ.get, "https://management.azure.com"
authority = "https://login.microsoftonline.com/"


def federated():
    with open(env("AZURE_FEDERATED_TOKEN_FILE")) as f:
        return f.read()


def managed_trusted():
    m = ManagedIdentityCredential(client_id=env("USER_CLIENT_ID"))
    return ClientAssertionCredential(env("AZURE_TENANT_ID"), env("TRUSTING_CLIENT_ID"), lambda: m.get_token("api://AzureADTokenExchange/.default").token)


credentials = {
    "default": DefaultAzureCredential,
    "environment": EnvironmentCredential,
    "workload": WorkloadIdentityCredential,
    "cli": AzureCliCredential,
    "managed": ManagedIdentityCredential,
    "managed-client": lambda: ManagedIdentityCredential(client_id=env("USER_CLIENT_ID")),
    "managed-object": lambda: ManagedIdentityCredential(identity_config={"object_id": env("USER_OBJECT_ID")}),
    "managed-id": lambda: ManagedIdentityCredential(identity_config={"resource_id": env("USER_RESOURCE_ID")}),
    "secret": lambda: ClientSecretCredential(env("AZURE_TENANT_ID"), env("AZURE_CLIENT_ID"), env("AZURE_CLIENT_SECRET")),
    "certificate": lambda: CertificateCredential(env("AZURE_TENANT_ID"), env("CERTIFICATE_CLIENT_ID"), env("CERTIFICATE")),
    "certificate-chain": lambda: CertificateCredential(env("AZURE_TENANT_ID"), env("CERTIFICATE_CLIENT_ID"), env("CERTIFICATE"), send_certificate_chain=True),
    "managed-trusted": managed_trusted,
}


def managed(identity):
    return msal.ManagedIdentityClient(identity, http_client=requests.Session()).acquire_token_for_client(resource=arm)


def confidential(app, credential):
    return msal.ConfidentialClientApplication(app, client_credential=credential, authority=authority + env("AZURE_TENANT_ID")).acquire_token_for_client([arm + "/.default"])


def certificate():
    with open(env("CERTIFICATE")) as f:
        pem = f.read()
    return confidential(env("CERTIFICATE_CLIENT_ID"), {"private_key": pem, "public_certificate": pem})


def password():
    client = msal.PublicClientApplication("04b07795-8ddb-461a-bbee-02f9e1bf7b46", authority=authority + "organizations")
    got = client.acquire_token_by_username_password(env("USERNAME"), env("PASSWORD"), [arm + "/.default"])
    if "access_token" in got:
        for scope in arm, "https://vault.azure.net":
            again = client.acquire_token_silent_with_error([scope + "/.default"], client.get_accounts()[0], force_refresh=True) or {}
            if "access_token" not in again:
                return again
    return got


flows = {
    "msal-managed": lambda: managed(msal.SystemAssignedManagedIdentity()),
    "msal-managed-client": lambda: managed(msal.UserAssignedManagedIdentity(client_id=env("USER_CLIENT_ID"))),
    "msal-managed-object": lambda: managed(msal.UserAssignedManagedIdentity(object_id=env("USER_OBJECT_ID"))),
    "msal-managed-id": lambda: managed(msal.UserAssignedManagedIdentity(resource_id=env("USER_RESOURCE_ID"))),
    "msal-secret": lambda: confidential(env("AZURE_CLIENT_ID"), env("AZURE_CLIENT_SECRET")),
    "msal-certificate": certificate,
    "msal-assertion": lambda: confidential(env("AZURE_CLIENT_ID"), {"client_assertion": federated()}),
    "msal-password": password,
}


def get(name):
    if name in credentials:
        return credentials[name]().get_token(arm + "/.default").token
    got = flows[name]()
    if "access_token" not in got:
        raise ValueError(got)
    return got["access_token"]


for name in sys.argv[1:]:
    try:
        payload = get(name).split(".")[1]
        print(name, json.loads(base64.urlsafe_b64decode(payload + "=="))["oid"])
    except Exception as e:
        print(name, "!", " ".join(str(e).split()))
