package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSignAzIn(t *testing.T) {
	dir := t.TempDir()
	c := credentials{TenantID: "t", ClientID: "app", ClientSecret: "s3cret", SubscriptionID: "a", Partner: "b"}
	if err := signAzIn(dir, c); err != nil {
		t.Fatal(err)
	}
	var profile struct {
		Subscriptions []struct {
			ID, Name, TenantID string
			IsDefault          bool
			User               map[string]string
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "az", "azureProfile.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &profile); err != nil || len(profile.Subscriptions) != 2 || !profile.Subscriptions[0].IsDefault || profile.Subscriptions[1].IsDefault || profile.Subscriptions[0].User["name"] != "app" {
		t.Errorf("%v: %s", err, b)
	}
	if strings.Contains(string(b), "s3cret") {
		t.Error("the secret is in the profile")
	}
	secrets := filepath.Join(dir, "az", "service_principal_entries.json")
	if st, err := os.Stat(secrets); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}

	// What the user made of it stays, until the credentials are others.
	profileFile := filepath.Join(dir, "az", "azureProfile.json")
	if err := os.WriteFile(profileFile, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := signAzIn(dir, c); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(profileFile); string(b) != "mine" {
		t.Errorf("written over: %s", b)
	}
	c.ClientID = "other"
	if err := signAzIn(dir, c); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(profileFile); !strings.Contains(string(b), "other") {
		t.Errorf("still the old credentials: %s", b)
	}
}

func TestAzExtensions(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"HOME": "/home/u"}, "/home/u/.azure/cliextensions"},
		{map[string]string{"HOME": "/home/u", "AZURE_CONFIG_DIR": "/c"}, "/c/cliextensions"},
		{map[string]string{"HOME": "/home/u", "AZURE_EXTENSION_DIR": "/e"}, ""},
		{nil, ""},
	} {
		if got := azExtensions(func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%v: %q, want %q", c.env, got, c.want)
		}
	}
}
