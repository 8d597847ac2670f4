"""What azure-storage-file-share does, against one account: ACCOUNT, KEY."""

import io
import os
from datetime import datetime, timedelta, timezone

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.fileshare import (
    AccessPolicy, AccountSasPermissions, ContentSettings, FileSasPermissions, NTFSAttributes, ResourceTypes, ShareFileClient, ShareLeaseClient,
    ShareSasPermissions, ShareServiceClient, generate_account_sas, generate_file_sas, generate_share_sas,
)

account, key = os.environ["ACCOUNT"], os.environ["KEY"]
url = f"https://{account}.file.core.windows.net"
service = ShareServiceClient(url, credential=key)


def refused(error, code, f, *args, **kw):
    try:
        f(*args, **kw)
    except error as e:
        assert e.error_code == code, (e.error_code, code)
        return
    raise AssertionError(f"{code} was expected")


# Service and shares.
service.set_service_properties(cors=[])
assert service.get_service_properties()["cors"] == []
share = service.create_share("code", quota=3, metadata={"team": "ml"}, access_tier="Hot")
refused(ResourceExistsError, "ShareAlreadyExists", service.create_share, "code")
p = share.get_share_properties()
assert (p.quota, p.metadata, p.access_tier) == (3, {"team": "ml"}, "Hot"), p
share.set_share_quota(7)
share.set_share_metadata({"team": "ops"})
assert share.get_share_properties().quota == 7
assert [s.name for s in service.list_shares(include_metadata=True)] == ["code"]
share.set_share_access_policy({"read": AccessPolicy(permission="rl", start=datetime.now(timezone.utc) - timedelta(hours=1), expiry=datetime.now(timezone.utc) + timedelta(hours=1))})
assert share.get_share_access_policy()["signed_identifiers"][0].id == "read"

# Directories and files.
d = share.create_directory("Users")
d.create_subdirectory("alice")
sub = share.get_directory_client("Users/alice")
assert sub.exists() and share.get_directory_client("users/ALICE").exists()
body = os.urandom(9_000_001)
f = sub.get_file_client("train.py")
f.upload_file(body, metadata={"a": "b"}, max_concurrency=2)
assert f.download_file(max_concurrency=2).readall() == body
assert f.download_file(offset=5, length=10).readall() == body[5:15]
q = f.get_file_properties()
assert q.size == len(body) and q.metadata == {"a": "b"} and q.file_attributes == "Archive", q
assert [(e.name, e.is_directory) for e in d.list_directories_and_files()] == [("alice", True)]
assert [(e.name, e.size) for e in sub.list_directories_and_files(include=["timestamps", "Etag", "Attributes", "PermissionKey"])] == [("train.py", len(body))]
f.upload_range(b"xyz", offset=1, length=3)
f.clear_range(offset=512, length=512)
want = bytearray(body)
want[1:4] = b"xyz"
want[512:1024] = bytes(512)
assert f.download_file().readall() == bytes(want)
ranges = f.get_ranges()
assert ranges[0] == {"start": 0, "end": 511} and ranges[1]["start"] == 1024, ranges
f.resize_file(100)
assert f.download_file().readall() == bytes(want[:100])
f.set_http_headers(content_settings=ContentSettings(), file_attributes=NTFSAttributes(read_only=True))
refused(ResourceExistsError, "ReadOnlyAttribute", f.upload_range, b"x", offset=0, length=1)
f.set_http_headers(content_settings=ContentSettings(), file_attributes="None")
refused(ResourceNotFoundError, "ParentNotFound", share.get_file_client("no/where").create_file, 1)
refused(ResourceNotFoundError, "ResourceNotFound", share.get_file_client("nowhere").get_file_properties)
refused(ResourceExistsError, "DirectoryNotEmpty", d.delete_directory)

# Permissions.
permission = "O:S-1-5-21-2127521184-1604012920-1887927527-21560751G:S-1-5-21-2127521184-1604012920-1887927527-513D:AI(A;;FA;;;SY)(A;;FA;;;BA)"
handle = share.create_permission_for_share(permission)
assert share.get_permission_for_share(handle) == permission
share.get_directory_client("guarded").create_directory(file_permission_key=handle)
assert share.get_directory_client("guarded").get_directory_properties().permission_key == handle

# Leases.
lease = f.acquire_lease()
refused(HttpResponseError, "LeaseIdMissing", f.upload_range, b"x", offset=0, length=1)
f.upload_range(b"x", offset=0, length=1, lease=lease)
lease.release()
lease = ShareLeaseClient(share)
lease.acquire(lease_duration=15)
refused(HttpResponseError, "LeaseIdMissing", share.delete_share)
lease.release()

# Copies, ranges from a URL, renames.
copy = share.get_file_client("copy.py")
assert copy.start_copy_from_url(f.url)["copy_status"] == "success"
assert copy.download_file().readall() == f.download_file().readall()
assert copy.get_file_properties().copy.status == "success"
sas = generate_file_sas(account, "code", ["Users", "alice", "train.py"], key, FileSasPermissions(read=True), datetime.now(timezone.utc) + timedelta(hours=1))
copy.upload_range_from_url(f.url + "?" + sas, offset=0, length=10, source_offset=20)
assert copy.download_file(offset=0, length=10).readall() == bytes(want[20:30])
moved = copy.rename_file("Users/moved.py")
assert moved.get_file_properties().size == 100
d = d.rename_directory("People")
assert [e.name for e in d.list_directories_and_files()] == ["alice", "moved.py"]
assert list(d.list_handles(recursive=True)) == [] and d.close_all_handles()["closed_handles_count"] == 0

# Snapshots.
f = share.get_file_client("People/alice/train.py")
snapshot = share.create_snapshot()
before = f.download_file().readall()
f.upload_range(b"changed", offset=0, length=7)
old = ShareServiceClient(url, credential=key).get_share_client("code", snapshot=snapshot["snapshot"]).get_file_client("People/alice/train.py")
assert old.download_file().readall() == before and f.download_file().readall() != before
changed, cleared = f.get_ranges_diff(snapshot)
assert changed == [{"start": 0, "end": 99}] and cleared == [], (changed, cleared)
refused(HttpResponseError, "ShareHasSnapshots", share.delete_share)
assert share.get_share_stats() == 200, share.get_share_stats()

# Signatures.
hour = datetime.now(timezone.utc) + timedelta(hours=1)
reader = ShareServiceClient(url, credential=generate_share_sas(account, "code", key, ShareSasPermissions(read=True, list=True), hour)).get_share_client("code")
assert len(list(reader.list_directories_and_files())) == 2
refused(HttpResponseError, "AuthorizationPermissionMismatch", reader.create_directory, "no")
stored = ShareServiceClient(url, credential=generate_share_sas(account, "code", key, policy_id="read")).get_share_client("code")
assert len(list(stored.list_directories_and_files())) == 2
whole = ShareServiceClient(url, credential=generate_account_sas(account, key, ResourceTypes(service=True, container=True, object=True), AccountSasPermissions(read=True, list=True), hour))
assert [s.name for s in whole.list_shares()] == ["code"]
one = ShareFileClient(url, "code", "People/moved.py", credential=generate_file_sas(account, "code", ["People", "moved.py"], key, FileSasPermissions(read=True), hour))
assert len(one.download_file().readall()) == 100


# Tokens, with the intent to back up.
class Token:
    def get_token(self, *_, **__):
        return AccessToken("tok", 4102444800)

    def get_token_info(self, *_, **__):
        from azure.core.credentials import AccessTokenInfo
        return AccessTokenInfo("tok", 4102444800)


backup = ShareServiceClient(url, credential=Token(), token_intent="backup").get_share_client("code")
g = backup.get_file_client("by-token.txt")
g.upload_file(io.BytesIO(b"hello"))
assert g.download_file().readall() == b"hello"
g.delete_file()

# Soft delete.
share.delete_share(delete_snapshots=True)
gone = [s for s in service.list_shares(include_deleted=True) if s.deleted]
assert gone[0].name == "code" and gone[0].remaining_retention_days == 7
back = service.undelete_share("code", gone[0].version)
assert back.get_file_client("People/moved.py").exists()
print("azure-storage-file-share: ok")
