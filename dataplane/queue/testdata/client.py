"""azure-storage-queue against the queue service: what ParallelRunStep and people use of it."""
import base64, os, time
from datetime import datetime, timedelta, timezone
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError, ClientAuthenticationError
from azure.storage.queue import (
    AccessPolicy, AccountSasPermissions, CorsRule, QueueClient, QueueSasPermissions, QueueServiceClient, ResourceTypes,
    TextBase64EncodePolicy, TextBase64DecodePolicy, generate_account_sas, generate_queue_sas,
)

account, key = os.environ["ACCOUNT"], os.environ["KEY"]
url = f"https://{account}.queue.core.windows.net"
service = QueueServiceClient(url, credential={"account_name": account, "account_key": key}, retry_total=0)


def refused(code, f, *a, **k):
    try:
        f(*a, **k)
    except HttpResponseError as e:
        assert e.error_code == code, (e.error_code, code, e.message)
        return e
    raise AssertionError(f"{code} expected")


q = service.create_queue("jobs", metadata={"owner": "me"})
refused("QueueAlreadyExists", service.create_queue, "jobs", metadata={"owner": "you"})
refused("QueueAlreadyExists", q.create_queue, metadata={"owner": "me"})  # the SDK says so of a 204
assert q.get_queue_properties().metadata == {"owner": "me"}
for i in range(5):
    service.create_queue(f"more{i}")
pages = list(service.list_queues(name_starts_with="more", results_per_page=2).by_page())
assert [[x.name for x in p] for p in pages] == [["more0", "more1"], ["more2", "more3"], ["more4"]]
assert [x.metadata for x in service.list_queues(name_starts_with="jobs", include_metadata=True)] == [{"owner": "me"}]
refused("InvalidResourceName", service.create_queue, "Bad--Name")

sent = [q.send_message(f"<message> & {i} é") for i in range(40)]
assert q.get_queue_properties().approximate_message_count == 40
assert [m.content for m in q.peek_messages(max_messages=32)] == [f"<message> & {i} é" for i in range(32)]
got = q.receive_message(visibility_timeout=60)
assert got.content == "<message> & 0 é" and got.dequeue_count == 1 and got.id == sent[0].id
refused("PopReceiptMismatch", q.delete_message, sent[0].id, sent[0].pop_receipt)
new = q.update_message(got, visibility_timeout=0, content="changed")
assert q.peek_messages(max_messages=32)[-1].content != "changed"  # it went behind the others
refused("PopReceiptMismatch", q.update_message, got.id, got.pop_receipt, visibility_timeout=0)
q.delete_message(new)
refused("MessageNotFound", q.delete_message, new.id, new.pop_receipt)
n = 0
for m in q.receive_messages(messages_per_page=16, visibility_timeout=300):
    q.delete_message(m)
    n += 1
assert n == 39, n
q.send_message("later", visibility_timeout=3600, time_to_live=-1)
assert q.receive_message() is None and q.get_queue_properties().approximate_message_count == 1
assert q.send_message("eternal", time_to_live=-1).expires_on.year == 9999
q.clear_messages()
assert q.get_queue_properties().approximate_message_count == 0
refused("RequestBodyTooLarge", q.send_message, "x" * (64 * 1024 + 1))
q.send_message("x" * 64 * 1024)
assert len(q.receive_message().content) == 64 * 1024
b64 = QueueClient(url, "jobs", credential={"account_name": account, "account_key": key}, message_encode_policy=TextBase64EncodePolicy(), message_decode_policy=TextBase64DecodePolicy())
b64.clear_messages()
b64.send_message("over base64")
assert b64.receive_message().content == "over base64"

expiry = datetime.now(timezone.utc) + timedelta(hours=1)
sas = generate_queue_sas(account, "jobs", key, permission=QueueSasPermissions(read=True, add=True), expiry=expiry)
by = QueueClient(url, "jobs", credential=sas)
by.send_message("by sas")
refused("AuthorizationPermissionMismatch", by.receive_message)
refused("AuthenticationFailed", QueueClient(url, "more0", credential=sas).send_message, "x")
q.set_queue_access_policy({"p": AccessPolicy(QueueSasPermissions(process=True), expiry=expiry)})
assert q.get_queue_access_policy()["p"].permission == "p"
named = QueueClient(url, "jobs", credential=generate_queue_sas(account, "jobs", key, policy_id="p"))
assert named.receive_message().content == "by sas"
q.set_queue_access_policy({})
refused("AuthenticationFailed", named.receive_message)
acc = generate_account_sas(account, key, resource_types=ResourceTypes(service=True), permission=AccountSasPermissions(list=True), expiry=expiry)
assert len(list(QueueServiceClient(url, credential=acc).list_queues())) == 6
refused("AuthorizationResourceTypeMismatch", QueueClient(url, "jobs", credential=acc).send_message, "x")


class Token:
    def get_token(self, *_, **__):
        return AccessToken("tok", int(time.time()) + 3600)


token = QueueClient(url, "jobs", credential=Token())
token.send_message("by token")
assert token.receive_message().content == "by token"
refused("AuthorizationPermissionMismatch", token.set_queue_access_policy, {})

service.set_service_properties(cors=[CorsRule(["https://x.example"], ["GET"], max_age_in_seconds=5)])
assert service.get_service_properties()["cors"][0].allowed_origins == "https://x.example"
q.delete_queue()
refused("QueueNotFound", q.send_message, "x")
print("azure-storage-queue: all as expected")
