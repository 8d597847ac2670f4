"""What an unmodified azure-keyvault-secrets does against the handler: PORT and CA come from the environment."""
import os
import socket
import time

port = int(os.environ["PORT"])
real = socket.getaddrinfo


def local(host, p, *a, **k):
    if str(host).endswith(".vault.azure.net"):
        return real("127.0.0.1", port, *a, **k)
    return real(host, p, *a, **k)


socket.getaddrinfo = local
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.secrets import ApiVersion, SecretClient


class Token:
    def get_token(self, *scopes, **kw):
        assert scopes == ("https://vault.azure.net/.default",) and kw.get("tenant_id") == "tenant", (scopes, kw)
        return AccessToken("tok", int(time.time()) + 3600)


for version in [ApiVersion.V7_0, ApiVersion.V7_4, ApiVersion.V7_5, ApiVersion.V7_6, None]:
    c = SecretClient("https://labkv.vault.azure.net", Token(), **({"api_version": version} if version else {}))
    name = "s-" + (version.value.replace(".", "-") if version else "newest")
    s = c.set_secret(name, "one", content_type="text/plain", tags={"a": "b"})
    assert c.set_secret(name, "two").value == "two"
    assert c.get_secret(name).value == "two" and c.get_secret(name, s.properties.version).value == "one"
    assert c.update_secret_properties(name, s.properties.version, enabled=False).enabled is False
    try:
        c.get_secret(name, s.properties.version)
        raise AssertionError("a disabled version was read")
    except HttpResponseError as e:
        assert e.status_code == 403 and e.error.innererror["code"] == "SecretDisabled", e
    assert {p.version for p in c.list_properties_of_secret_versions(name)} >= {s.properties.version}
    assert name in [p.name for p in c.list_properties_of_secrets()]
    d = c.begin_delete_secret(name).result()
    assert d.recovery_id and d.scheduled_purge_date > d.deleted_date, d
    assert name in [p.name for p in c.list_deleted_secrets()]
    try:
        c.set_secret(name, "three")
        raise AssertionError("a deleted name was written")
    except ResourceExistsError:
        pass
    c.begin_recover_deleted_secret(name).wait()
    assert c.get_secret(name).value == "two"
    c.begin_delete_secret(name).wait()
    c.purge_deleted_secret(name)
    try:
        c.get_secret(name)
        raise AssertionError("a purged secret was read")
    except ResourceNotFoundError as e:
        assert e.error.code == "SecretNotFound"
print("ok")
