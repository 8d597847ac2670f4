"""azure-data-tables against the table service: what ParallelRunStep and people use of it."""
import os, time, uuid
from datetime import datetime, timedelta, timezone
from azure.core import MatchConditions
from azure.core.credentials import AccessToken, AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import HttpResponseError
from azure.data.tables import (
    AccountSasPermissions, EdmType, EntityProperty, ResourceTypes, TableAccessPolicy, TableClient, TableSasPermissions, TableServiceClient,
    TableTransactionError, UpdateMode, generate_account_sas, generate_table_sas,
)

account, key = os.environ["ACCOUNT"], os.environ["KEY"]
url = f"https://{account}.table.core.windows.net"
named = AzureNamedKeyCredential(account, key)
service = TableServiceClient(url, credential=named, retry_total=0)


def refused(code, f, *a, **k):
    try:
        f(*a, **k)
    except HttpResponseError as e:
        got = e.response.headers["x-ms-error-code"]  # the SDK drops some codes of its errors
        assert got == code, (got, code, e.message)
        return e
    raise AssertionError(f"{code} expected")


t = service.create_table("People")
refused("TableAlreadyExists", service.create_table, "PEOPLE")
for i in range(5):
    service.create_table(f"more{i}")
assert [x.name for x in service.query_tables("TableName ge 'more1' and TableName lt 'more3'")] == ["more1", "more2"]
assert [[x.name for x in p] for p in service.list_tables(results_per_page=4).by_page()] == [["more0", "more1", "more2", "more3"], ["more4", "People"]]
refused("TableNotFound", service.get_table_client("nobody").create_entity, {"PartitionKey": "a", "RowKey": "b"})

born = datetime(1990, 1, 2, 3, 4, 5, 123456, tzinfo=timezone.utc)
full = {
    "PartitionKey": "it's é", "RowKey": "row (1)", "text": "x'y\"<>&", "age": 39, "big": EntityProperty(2**62, EdmType.INT64), "ratio": 3.1, "one": 1.0,
    "nan": float("nan"), "inf": float("-inf"), "ok": True, "born": born, "id": uuid.UUID("c9da6455-213d-42c9-9a79-3e9149a57833"), "raw": b"\x00\xff",
    "empty": "", "none": None,
}
made = t.create_entity(full)
got = t.get_entity("it's é", "row (1)")
assert got["text"] == full["text"] and got["age"] == 39 and got["big"].value == 2**62 and got["ratio"] == 3.1 and got["ok"] is True
assert got["one"] == 1.0 and isinstance(got["one"], float) and got["nan"] != got["nan"] and got["inf"] == float("-inf")
assert got["born"] == born and got["id"] == full["id"] and got["raw"] == b"\x00\xff" and got["empty"] == "" and "none" not in got
assert got.metadata["etag"] == made["etag"], (got.metadata, made)
refused("EntityAlreadyExists", t.create_entity, full)
refused("ResourceNotFound", t.get_entity, "it's é", "other")
assert list(t.get_entity("it's é", "row (1)", select=["age", "ok"])) == ["age", "ok"]

t.update_entity({"PartitionKey": "it's é", "RowKey": "row (1)", "age": 40}, mode=UpdateMode.MERGE)
assert t.get_entity("it's é", "row (1)")["text"] == full["text"]
refused("UpdateConditionNotSatisfied", t.update_entity, {"PartitionKey": "it's é", "RowKey": "row (1)"}, mode=UpdateMode.REPLACE, etag=made["etag"], match_condition=MatchConditions.IfNotModified)
t.update_entity({"PartitionKey": "it's é", "RowKey": "row (1)", "age": 41}, mode=UpdateMode.REPLACE)
assert dict(t.get_entity("it's é", "row (1)")) == {"PartitionKey": "it's é", "RowKey": "row (1)", "age": 41}
refused("ResourceNotFound", t.update_entity, {"PartitionKey": "p", "RowKey": "none"})
t.upsert_entity({"PartitionKey": "p", "RowKey": "up", "a": 1})
t.upsert_entity({"PartitionKey": "p", "RowKey": "up", "b": 2})
assert dict(t.get_entity("p", "up"))["a"] == 1
t.upsert_entity({"PartitionKey": "p", "RowKey": "up", "b": 3}, mode=UpdateMode.REPLACE)
assert "a" not in t.get_entity("p", "up")
t.delete_entity("p", "up")
t.delete_entity("p", "up")  # the SDK takes a 404 for done

rows = [{"PartitionKey": "batch", "RowKey": f"{i:03}", "n": i, "even": i % 2 == 0, "when": born + timedelta(days=i)} for i in range(100)]
assert len(t.submit_transaction([("create", r) for r in rows])) == 100
for page in range(12):
    t.submit_transaction([("upsert", {"PartitionKey": "pages", "RowKey": f"{page:02}{i:03}", "n": i}) for i in range(100)])
assert len(list(t.query_entities("PartitionKey eq 'pages'"))) == 1200
assert [len(list(p)) for p in t.query_entities("PartitionKey eq 'pages' and n lt 7", results_per_page=50).by_page()] == [50, 34]
assert [e["n"] for e in t.query_entities("PartitionKey eq @p and n ge @n and even", parameters={"p": "batch", "n": 90})] == [90, 92, 94, 96, 98]
assert len(list(t.query_entities("PartitionKey eq 'batch' and when gt @w", parameters={"w": born + timedelta(days=97)}))) == 2
assert len(list(t.query_entities("PartitionKey eq 'batch' and not (n lt 95) or age eq 41"))) == 6
refused("InvalidInput", list, t.query_entities("n is 5"))
try:
    t.submit_transaction([("create", {"PartitionKey": "batch", "RowKey": "new"}), ("create", rows[3])])
    raise AssertionError("a transaction that cannot be was done")
except TableTransactionError as e:
    assert e.error_code == "EntityAlreadyExists" and e.index == 1, (e.error_code, e.index)
refused("ResourceNotFound", t.get_entity, "batch", "new")
t.submit_transaction([("update", {**rows[0], "n": 7}), ("delete", rows[1]), ("upsert", {"PartitionKey": "batch", "RowKey": "x"}, {"mode": "replace"})])
refused("ResourceNotFound", t.get_entity, "batch", "001")

refused("PropertyValueTooLarge", t.create_entity, {"PartitionKey": "p", "RowKey": "r", "x": "é" * 32769})
refused("EntityTooLarge", t.create_entity, {"PartitionKey": "p", "RowKey": "r", **{f"x{i}": "é" * 32768 for i in range(17)}})
refused("TooManyProperties", t.create_entity, {"PartitionKey": "p", "RowKey": "r", **{f"x{i}": i for i in range(253)}})
refused("PropertyNameTooLong", t.create_entity, {"PartitionKey": "p", "RowKey": "r", "x" * 256: 1})

expiry = datetime.now(timezone.utc) + timedelta(hours=1)
sas = generate_table_sas(named, "People", permission=TableSasPermissions(read=True, add=True), expiry=expiry, start_pk="batch", end_pk="batch", start_rk="010", end_rk="019")
by = TableClient(url, "People", credential=AzureSasCredential(sas))
assert len(list(by.list_entities())) == 10
by.create_entity({"PartitionKey": "batch", "RowKey": "015x"})
refused("AuthorizationFailure", by.create_entity, {"PartitionKey": "batch", "RowKey": "9"})
refused("AuthorizationPermissionMismatch", by.upsert_entity, {"PartitionKey": "batch", "RowKey": "015x"})
refused("AuthenticationFailed", list, TableClient(url, "more0", credential=AzureSasCredential(sas)).list_entities())
t.set_table_access_policy({"p": TableAccessPolicy(permission="r", expiry=expiry)})
assert t.get_table_access_policy()["p"].permission == "r"
policy = TableClient(url, "People", credential=AzureSasCredential(generate_table_sas(named, "People", policy_id="p")))
assert policy.get_entity("batch", "050")["n"] == 50
t.set_table_access_policy({})
refused("AuthenticationFailed", policy.get_entity, "batch", "050")
acc = AzureSasCredential(generate_account_sas(named, resource_types=ResourceTypes(object=True), permission=AccountSasPermissions(add=True, update=True, read=True), expiry=expiry))
TableClient(url, "People", credential=acc).submit_transaction([("upsert", {"PartitionKey": "batch", "RowKey": "acc"})])
try:
    TableClient(url, "People", credential=acc).submit_transaction([("delete", {"PartitionKey": "batch", "RowKey": "acc"})])
    raise AssertionError("a transaction without permission was done")
except HttpResponseError as e:
    assert e.error_code == "AuthorizationPermissionMismatch", e.error_code


class Token:
    def get_token(self, *_, **__):
        return AccessToken("tok", int(time.time()) + 3600)


token = TableClient(url, "People", credential=Token())
token.upsert_entity({"PartitionKey": "tok", "RowKey": "1"})
assert token.get_entity("tok", "1")["RowKey"] == "1"
refused("AuthorizationPermissionMismatch", token.delete_entity, "tok", "1")
service.delete_table("people")
refused("TableNotFound", t.get_entity, "batch", "050")
print("azure-data-tables: all as expected")
