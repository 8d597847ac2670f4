"""What unmodified azure-keyvault-keys and -certificates do against the handler: PORT and CA come from the environment."""
import hashlib
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
from azure.keyvault.certificates import CertificateClient, CertificateContact, CertificatePolicy, CertificateContentType, KeyType as CertKeyType
from azure.keyvault.keys import KeyClient, KeyCurveName, KeyRotationPolicy, KeyRotationLifetimeAction, KeyRotationPolicyAction, KeyType
from azure.keyvault.keys.crypto import CryptographyClient, EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm
from azure.keyvault.secrets import SecretClient
from cryptography.hazmat.primitives.serialization import pkcs12
import base64


class Token:
    def get_token(self, *scopes, **kw):
        assert scopes == ("https://vault.azure.net/.default",), scopes
        return AccessToken("tok", int(time.time()) + 3600)


url = "https://labkv.vault.azure.net"
keys = KeyClient(url, Token())


def remote(key):
    c = CryptographyClient(key.id, Token())
    c._keys_get_forbidden = True  # the key is not fetched: every operation goes to the vault
    return c


# Keys of each type, signed by the vault and verified by the client's own cryptography.
for kty, curve, alg, digest in [
    (KeyType.rsa, None, SignatureAlgorithm.rs256, "sha256"), (KeyType.rsa, None, SignatureAlgorithm.ps512, "sha512"),
    (KeyType.ec, KeyCurveName.p_256, SignatureAlgorithm.es256, "sha256"), (KeyType.ec, KeyCurveName.p_384, SignatureAlgorithm.es384, "sha384"),
    (KeyType.ec, KeyCurveName.p_521, SignatureAlgorithm.es512, "sha512"), (KeyType.ec, KeyCurveName.p_256_k, SignatureAlgorithm.es256_k, "sha256"),
]:
    name = "k-" + alg.value.lower() + "-" + str(curve.value if curve else "rsa").lower()
    key = keys.create_ec_key(name, curve=curve) if curve else keys.create_rsa_key(name, size=2048)
    d = hashlib.new(digest, b"data").digest()
    sig = CryptographyClient(key, Token()).sign(alg, d).signature
    local_client = CryptographyClient.from_jwk(key.key)
    assert local_client.verify(alg, d, sig).is_valid, name
    assert not local_client.verify(alg, hashlib.new(digest, b"other").digest(), sig).is_valid, name

key = keys.create_rsa_key("wrap", tags={"a": "b"})
c = CryptographyClient(key, Token())
for alg in [EncryptionAlgorithm.rsa1_5, EncryptionAlgorithm.rsa_oaep, EncryptionAlgorithm.rsa_oaep_256]:
    assert c.decrypt(alg, c.encrypt(alg, b"plain").ciphertext).plaintext == b"plain"
for alg in [KeyWrapAlgorithm.rsa1_5, KeyWrapAlgorithm.rsa_oaep, KeyWrapAlgorithm.rsa_oaep_256]:
    assert c.unwrap_key(alg, c.wrap_key(alg, b"0" * 32).encrypted_key).key == b"0" * 32
assert keys.rotate_key("wrap").properties.version != key.properties.version
policy = KeyRotationPolicy(lifetime_actions=[KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P90D")], expires_in="P2Y")
assert keys.update_key_rotation_policy("wrap", policy).expires_in == "P2Y"
assert keys.get_key_rotation_policy("wrap").lifetime_actions[0].time_after_create == "P90D"
assert len(list(keys.list_properties_of_key_versions("wrap"))) == 2
assert keys.update_key_properties("wrap", enabled=False).properties.enabled is False
backup = keys.backup_key("wrap")
keys.begin_delete_key("wrap").wait()
try:
    keys.create_rsa_key("wrap")
    raise AssertionError("a deleted name was written")
except ResourceExistsError:
    pass
keys.purge_deleted_key("wrap")
assert keys.restore_key_backup(backup).name == "wrap"
assert "wrap" in [k.name for k in keys.list_properties_of_keys()]
try:
    keys.create_oct_key("oct", size=256)
    raise AssertionError("an oct key was made")
except HttpResponseError as e:
    assert e.status_code == 400 and e.error.innererror["code"] == "KeyTypeNotSupported", e
try:
    keys.get_random_bytes(8)
    raise AssertionError("random bytes were given")
except HttpResponseError as e:
    assert e.status_code == 400, e

# Certificates.
certs = CertificateClient(url, Token())
cert = certs.begin_create_certificate("web", CertificatePolicy("Self", subject="CN=lab.example", san_dns_names=["lab.example"], validity_in_months=12)).result()
assert cert.policy.issuer_name == "Self" and cert.policy.key_type == CertKeyType.rsa, cert
secret = SecretClient(url, Token()).get_secret("web").value
private, leaf, _ = pkcs12.load_key_and_certificates(base64.b64decode(secret), None)
assert leaf.subject.rfc4514_string() == "CN=lab.example" and private.public_key().public_numbers() == leaf.public_key().public_numbers()
again = certs.import_certificate("copy", base64.b64decode(secret))
assert again.cer == cert.cer
assert certs.get_certificate_policy("copy").issuer_name == "Unknown"
op = certs.begin_create_certificate("csr", CertificatePolicy("Unknown", subject="CN=csr.example", content_type=CertificateContentType.pem)).result()
assert op.csr and op.status == "inProgress", op
assert certs.cancel_certificate_operation("csr").cancellation_requested
certs.delete_certificate_operation("csr")
assert certs.update_certificate_properties("web", enabled=False).properties.enabled is False
certs.set_contacts([CertificateContact(email="a@lab.example", name="A")])
assert certs.get_contacts()[0].email == "a@lab.example" and certs.delete_contacts()
assert certs.create_issuer("digi", "DigiCert", account_id="acc", password="pass").provider == "DigiCert"
assert "digi" in [i.name for i in certs.list_properties_of_issuers()]
try:
    certs.begin_create_certificate("named", CertificatePolicy("digi", subject="CN=a")).result()
    raise AssertionError("an authority that is not there signed")
except HttpResponseError as e:
    assert e.status_code == 501 and "DigiCert" in e.message, e
backup = certs.backup_certificate("web")
certs.begin_delete_certificate("web").wait()
try:
    SecretClient(url, Token()).get_secret("web")
    raise AssertionError("the secret of a deleted certificate was read")
except ResourceNotFoundError:
    pass
certs.purge_deleted_certificate("web")
assert certs.restore_certificate_backup(backup).name == "web"
assert sorted(p.name for p in certs.list_properties_of_certificates()) == ["copy", "web"]
print("ok")
