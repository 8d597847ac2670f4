"""What an unmodified azure-storage-blob does against the handler: PORT, CA and KEY come from the environment."""
import base64
import datetime
import os
import socket

port = int(os.environ["PORT"])
real = socket.getaddrinfo


def local(host, p, *a, **k):
    if str(host).endswith(".blob.core.windows.net"):
        return real("127.0.0.1", port, *a, **k)
    return real(host, p, *a, **k)


socket.getaddrinfo = local
from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (BlobBlock, BlobClient, BlobSasPermissions, BlobServiceClient, ContainerSasPermissions, ContentSettings,
                                ResourceTypes, AccountSasPermissions, StandardBlobTier, __version__, generate_account_sas, generate_blob_sas,
                                generate_container_sas)

url = "https://labstore.blob.core.windows.net"
key = os.environ["KEY"]
now = datetime.datetime.now(datetime.timezone.utc)
later = now + datetime.timedelta(hours=1)


class Token:
    def get_token(self, *scopes, **kw):
        assert scopes == ("https://storage.azure.com/.default",), scopes
        return AccessToken("tok", int(later.timestamp()))


def refused(code, f):
    try:
        f()
    except HttpResponseError as e:
        assert e.error_code == code, (e.error_code, e.message)
        return e
    raise AssertionError("not refused: " + code)


def everything(cred, name):
    svc = BlobServiceClient(url, credential=cred, max_single_put_size=1 << 20, max_block_size=1 << 19, max_single_get_size=1 << 20, max_chunk_get_size=1 << 19)
    c = svc.create_container(name, metadata={"purpose": "test"})
    assert c.exists() and not svc.get_container_client("none" + name).exists()
    refused("ContainerAlreadyExists", lambda: svc.create_container(name))
    assert c.get_container_properties().metadata == {"purpose": "test"}
    c.set_container_metadata({"a": "b"})
    assert [x.name for x in svc.list_containers(name_starts_with=name, include_metadata=True)] == [name]

    small = c.upload_blob("dir/a b+é%.txt", b"hello", metadata={"k": "v"}, content_settings=ContentSettings(content_type="text/plain", cache_control="no-store"))
    p = small.get_blob_properties()
    assert p.size == 5 and p.metadata == {"k": "v"} and p.content_settings.content_type == "text/plain" and p.blob_type == "BlockBlob", p
    assert small.download_blob().readall() == b"hello"
    refused("BlobAlreadyExists", lambda: c.upload_blob("dir/a b+é%.txt", b"hello"))
    c.upload_blob("dir/a b+é%.txt", b"other", overwrite=True)
    assert small.download_blob(offset=1, length=3, validate_content=True).readall() == b"the"
    assert c.upload_blob("empty", b"").download_blob().readall() == b""

    data = os.urandom(5 * (1 << 20) + 12345)
    big = c.upload_blob("big", data, validate_content=True, max_concurrency=4)
    assert big.download_blob(max_concurrency=4).readall() == data
    assert big.download_blob(offset=1 << 20, length=1 << 20, validate_content=False).readall() == data[1 << 20:2 << 20]
    committed, uncommitted = big.get_block_list("all")
    assert sum(b.size for b in committed) == len(data) and not uncommitted
    b = c.get_blob_client("blocks")
    ids = [base64.b64encode(b"%04d" % i).decode() for i in range(3)]
    for i in ids:
        b.stage_block(i, (i * 10000).encode())
    assert [x.id for x in b.get_block_list("uncommitted")[1]] == ids
    b.commit_block_list([BlobBlock(ids[2]), BlobBlock(ids[0]), BlobBlock(ids[2])], metadata={"x": "y"})
    assert b.download_blob().readall() == (ids[2] * 10000 + ids[0] * 10000 + ids[2] * 10000).encode()
    refused("InvalidBlockList", lambda: b.commit_block_list([BlobBlock(base64.b64encode(b"9999").decode())]))

    log = c.get_blob_client("log.txt")
    log.create_append_blob()
    for i in range(30):
        log.append_block(b"line %d\n" % i)
    assert log.download_blob().readall() == b"".join(b"line %d\n" % i for i in range(30))
    assert log.get_blob_properties().append_blob_committed_block_count == 30

    for i in range(7):
        c.upload_blob("many/%d/x" % i, b"x", overwrite=True)
    names = [x.name for x in c.list_blobs(results_per_page=3, include=["metadata"])]
    assert names == sorted(names) and len(names) == 12, names
    assert [x.name for x in c.walk_blobs("many/", delimiter="/", results_per_page=2)] == ["many/%d/" % i for i in range(7)]
    assert {"dir/", "many/", "big", "empty"} <= {x.name for x in c.walk_blobs(results_per_page=2)}
    small.set_blob_metadata({"new": "1"})
    small.set_http_headers(ContentSettings(content_type="application/json"))
    assert small.get_blob_properties().content_settings.content_type == "application/json"
    small.set_standard_blob_tier(StandardBlobTier.COOL)
    assert small.get_blob_properties().blob_tier == "Cool"
    copy = c.get_blob_client("copy")
    assert copy.start_copy_from_url(big.url)["copy_status"] == "success"
    assert copy.download_blob().readall() == data
    etag = copy.get_blob_properties().etag
    refused("ConditionNotMet", lambda: copy.upload_blob(b"x", overwrite=True, etag="0x1", match_condition=MatchConditions.IfNotModified))
    copy.upload_blob(b"x", overwrite=True, etag=etag, match_condition=MatchConditions.IfNotModified)
    copy.delete_blob(delete_snapshots="include")
    refused("BlobNotFound", lambda: copy.download_blob())
    assert not copy.exists()
    svc.get_service_properties()
    assert svc.get_account_information()["account_kind"] == "StorageV2"
    return c


c1 = everything(key, "bykey")
c2 = everything(Token(), "bytoken")

sas = generate_account_sas("labstore", key, ResourceTypes(service=True, container=True, object=True), AccountSasPermissions.from_string("rwdlacu"), later)
everything(sas, "byaccountsas")


def by_container_sas(sas, container):
    c = BlobServiceClient(url, credential=sas).get_container_client(container)
    c.upload_blob("sas", b"1", overwrite=True)
    assert "sas" in [x.name for x in c.list_blobs()]
    assert BlobClient.from_blob_url(url + "/" + container + "/sas?" + sas).download_blob().readall() == b"1"
    refused("AuthorizationPermissionMismatch", lambda: c.delete_blob("sas"))
    refused("AuthorizationPermissionMismatch", lambda: c.delete_container())


by_container_sas(generate_container_sas("labstore", "bykey", account_key=key, permission=ContainerSasPermissions.from_string("rwl"), expiry=later, start=now - datetime.timedelta(minutes=5)), "bykey")
udk = BlobServiceClient(url, credential=Token()).get_user_delegation_key(now - datetime.timedelta(minutes=1), later)
by_container_sas(generate_container_sas("labstore", "bytoken", user_delegation_key=udk, permission=ContainerSasPermissions.from_string("rwl"), expiry=later), "bytoken")
blob_sas = generate_blob_sas("labstore", "bytoken", "big", user_delegation_key=udk, permission=BlobSasPermissions(read=True), expiry=later, content_type="x/y")
bc = BlobClient.from_blob_url(url + "/bytoken/big?" + blob_sas)
assert bc.get_blob_properties().content_settings.content_type == "x/y"
refused("AuthorizationPermissionMismatch", lambda: bc.delete_blob())
refused("AuthenticationFailed", lambda: BlobClient.from_blob_url(url + "/bytoken/log.txt?" + blob_sas).get_blob_properties())
once = generate_blob_sas("labstore", "bykey", "once", account_key=key, permission=BlobSasPermissions(create=True), expiry=later)
BlobClient.from_blob_url(url + "/bykey/once?" + once).upload_blob(b"1")
refused("UnauthorizedBlobOverwrite", lambda: BlobClient.from_blob_url(url + "/bykey/once?" + once).upload_blob(b"1", overwrite=True))
e = refused("AuthenticationFailed", lambda: list(BlobServiceClient(url, credential=base64.b64encode(b"wrong").decode()).list_containers()))
assert "string to sign" in str(e), e
refused("PublicAccessNotPermitted", lambda: BlobClient.from_blob_url(url + "/bykey/big").download_blob())
for c in (c1, c2):
    c.delete_container()
    refused("ContainerNotFound", lambda: list(c.list_blobs()))
print("ok", __version__)
