package keyvault

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBackup(t *testing.T) {
	f := newFixture(t)
	// Long enough that base64 of random bytes, which the backup is, does not spell it by chance.
	const value = "the-second-value-of-this-secret"
	f.want("PUT", "/secrets/Db-Pass", `{"value":"one","tags":{"a":"b"},"attributes":{"enabled":true,"exp":1900000000}}`, 200, "", "")
	second := f.want("PUT", "/secrets/Db-Pass", `{"value":"`+value+`"}`, 200, "", "")
	versions := f.want("GET", "/secrets/Db-Pass/versions", "", 200, "", "").Items
	backup := f.want("POST", "/secrets/db-pass/backup", "", 200, "", "")
	if strings.Contains(backup.raw, value) || bytes.Contains(decodeBackup(t, *backup.Value), []byte(value)) {
		t.Error("a value is in the clear")
	}
	body := `{"value":"` + *backup.Value + `"}`
	f.want("POST", "/secrets/restore", body, 409, "Conflict", "")
	f.want("DELETE", "/secrets/Db-Pass", "", 200, "", "")
	f.want("POST", "/secrets/restore", body, 409, "Conflict", "ObjectIsDeletedButRecoverable")
	f.want("POST", "/secrets/Db-Pass/backup", "", 404, "SecretNotFound", "")
	f.want("DELETE", "/deletedsecrets/Db-Pass", "", 204, "", "")

	if got := f.want("POST", "/secrets/restore", body, 200, "", ""); got.ID != second.ID || got.Value != nil {
		t.Errorf("restore: %s", got.raw)
	}
	if got := f.want("GET", "/secrets/Db-Pass", "", 200, "", ""); *got.Value != value || got.ID != second.ID {
		t.Errorf("what was restored: %s", got.raw)
	}
	if d := cmp.Diff(versions, f.want("GET", "/secrets/Db-Pass/versions", "", 200, "", "").Items); d != "" {
		t.Errorf("its versions:\n%s", d)
	}

	// Another vault of the subscription takes it, whatever became of the first; a vault of another subscription does not.
	if err := f.DestroyVault(t.Context(), "labkv"); err != nil {
		t.Fatal(err)
	}
	f.vault.Name, f.vault.ID = "other", strings.Replace(vaultID, "labkv", "other", 1)
	raw := decodeBackup(t, *backup.Value)
	if s, err := f.Restore(t.Context(), "other", raw); err != nil || s.Name != "Db-Pass" {
		t.Errorf("into another vault: %+v %v", s, err)
	}
	if s, err := f.Get(t.Context(), "other", "db-pass", ""); err != nil || s.Value != value {
		t.Errorf("from another vault: %v", err)
	}
	f.vault.ID = "/subscriptions/t/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/other"
	if _, err := f.Restore(t.Context(), "other", raw); err == nil || !strings.Contains(err.Error(), "Cannot decrypt backup blob") {
		t.Errorf("into another subscription: %v", err)
	}
}

func decodeBackup(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
