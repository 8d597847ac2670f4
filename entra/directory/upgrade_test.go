package directory

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"vauban.dev/internal/clock"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

// TestUpgrade opens what a region kept before principals had applications: its first principal signs in by the same
// secret and may change the directory, an identity is an identity, and the second opening finds nothing to do.
func TestUpgrade(t *testing.T) {
	st, err := sqlite.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	const (
		admin, adminApp       = "37c1c1dd-c647-45d1-83a4-aa9e0ccfbe2a", "93d49766-74b2-4ab4-8385-5d7d8dd910d1"
		identity, identityApp = "4323bdf6-8056-48bb-befe-70d846ec2a3d", "2e00e772-0e88-499a-8fb0-46b8f1de7b05"
		resource              = "/subscriptions/s/resourcegroups/g/providers/microsoft.managedidentity/userassignedidentities/mi1"
	)
	err = st.Update(t.Context(), func(tx store.Tx) error {
		for _, d := range [][3]string{
			{"entra.tenant", "default", `{"id":"98a07b7b-181c-4f13-8a09-ec87d0537b85","displayName":"Vauban","domain":"vauban.onmicrosoft.com","createdDateTime":"2026-11-01T00:00:00Z"}`},
			{"entra.principal", admin, fmt.Sprintf(`{"id":%q,"appId":%q,"displayName":"vauban-admin","graphRoles":["Directory.Read.All"],"secrets":[{"keyId":"ce350d50-53b1-4978-9618-4f8a683dd4d1","displayName":"rbac","hint":"emy","hash":"LhIw9rrJfH2Om3HnRUC3+dXBmELJYGPg7cT2XBOjAGM=","startDateTime":"2026-11-01T00:00:00Z","endDateTime":"2027-11-01T00:00:00Z"}],"created":"2026-11-01T00:00:00Z"}`, admin, adminApp)},
			{"entra.byapp", adminApp, admin},
			{"entra.principal", identity, fmt.Sprintf(`{"id":%q,"appId":%q,"displayName":"mi1","identity":"UserAssigned","resource":%q,"created":"2026-11-01T00:00:00Z"}`, identity, identityApp, resource)},
			{"entra.byapp", identityApp, identity},
			{"entra.byowner", resource, identity},
		} {
			if _, err := tx.Put(d[0], d[1], []byte(d[2]), store.None); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, first := range []bool{true, false} {
		o, err := Open(t.Context(), st, clock.Fixed(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if o.Upgraded() != first {
			t.Errorf("upgraded: %v at opening %v", o.Upgraded(), first)
		}
		err = st.View(t.Context(), func(tx store.Tx) error {
			p, err := o.ByAppID(tx, adminApp)
			if err != nil || p.TenantID != o.home.ID || p.ObjectID != admin {
				t.Errorf("the first principal: %+v, %v", p, err)
			}
			a, err := o.ApplicationByAppID(tx, adminApp)
			if err != nil || len(a.Secrets) != 1 || a.Secrets[0].Hint != "emy" {
				t.Errorf("its application: %+v, %v", a, err)
			}
			s, err := o.StandingIn(t.Context(), tx, admin)
			if err != nil || len(s.Roles) != 1 || s.Roles[0] != GlobalAdministrator {
				t.Errorf("its standing: %+v, %v", s, err)
			}
			m, err := o.ByAppID(tx, identityApp)
			if err != nil || !m.Managed() || m.TenantID != o.home.ID {
				t.Errorf("the identity: %+v, %v", m, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
