package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// kindDeleted are the vaults that are deleted and not purged: lower-case name → deletedVault. Their names stay theirs.
const kindDeleted = "keyvault.deleted"

// deletedVault is what is left of a deleted vault until it is recovered or purged; its secrets stay where they are.
type deletedVault struct {
	ID       string            `json:"id"`
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags,omitempty"`
	Vault    Vault             `json:"vault"`
	Deleted  time.Time         `json:"deleted"`
	Purge    time.Time         `json:"purge"`             // from then on it is gone
	Purging  bool              `json:"purging,omitempty"` // its data are being destroyed
}

func (d *deletedVault) gone(now time.Time) bool { return d.Purging || !now.Before(d.Purge) }

func (d *deletedVault) protected() bool {
	return d.Vault.PurgeProtection != nil && *d.Vault.PurgeProtection
}

// body is the wire form (Key Vault REST: DeletedVault).
func (d *deletedVault) body() (map[string]any, error) {
	id, err := arm.ParseID(d.ID)
	if err != nil {
		return nil, err
	}
	tags := d.Tags
	if tags == nil {
		tags = map[string]string{} // as Azure shows none
	}
	properties := map[string]any{
		"vaultId": d.ID, "location": d.Location, "tags": tags, "deletionDate": d.Deleted, "scheduledPurgeDate": d.Purge,
	}
	if d.protected() {
		properties["purgeProtectionEnabled"] = true
	}
	return map[string]any{
		"id":   "/subscriptions/" + id.Subscription() + "/providers/Microsoft.KeyVault/locations/" + d.Location + "/deletedVaults/" + id.Name(),
		"name": id.Name(), "type": "Microsoft.KeyVault/deletedVaults", "properties": properties,
	}, nil
}

// IsDeleted reports whether the vault is deleted and can be recovered.
func IsDeleted(tx *rp.Tx, id arm.ID) (bool, error) {
	d, err := readDeleted(tx, id.Name())
	return d != nil && strings.EqualFold(d.ID, id.String()), err
}

// readDeleted finds the deleted vault of a name; nil without one.
func readDeleted(tx *rp.Tx, name string) (*deletedVault, error) {
	doc, err := tx.Get(kindDeleted, strings.ToLower(name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d := new(deletedVault)
	return d, json.Unmarshal(doc.Value, d)
}

func (d *deletedVault) write(tx *rp.Tx) error {
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	id, err := arm.ParseID(d.ID)
	if err != nil {
		return err
	}
	_, err = tx.Put(kindDeleted, strings.ToLower(id.Name()), b, store.Any)
	return err
}

// softDelete keeps the vault for its retention time, in the transaction in which its resource goes.
func softDelete(_ context.Context, tx *rp.Tx, r *rp.Resource[Vault]) error {
	now := tx.Now.UTC().Truncate(time.Second)
	d := deletedVault{
		ID: r.ID.String(), Location: r.Location, Tags: r.Tags, Vault: r.Properties,
		Deleted: now, Purge: now.AddDate(0, 0, r.Properties.RetentionDays),
	}
	d.Vault.Connections = nil
	return d.write(tx)
}

// admitName takes the name of a new vault, or what was deleted under it, where the request recovers that.
func (p *Provider) admitName(tx *rp.Tx, new *rp.Resource[Vault]) error {
	name := strings.ToLower(new.ID.Name())
	recover := new.Properties.CreateMode == "recover"
	d, err := readDeleted(tx, name)
	if err != nil {
		return err
	}
	if d != nil && d.gone(tx.Now) && !d.Purging {
		if err := errors.Join(p.forget(tx, name), forget(tx, d)); err != nil {
			return err
		}
		d = nil
	}
	switch {
	case d == nil && recover:
		return arm.Errorf(http.StatusNotFound, "VaultNotFound", "There is no deleted vault with the name '%s' to recover.", name)
	case d == nil:
		return nil
	case !recover:
		return arm.Errorf(http.StatusConflict, "ConflictError", "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault. Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete.")
	case d.Purging || !strings.EqualFold(d.ID, new.ID.String()):
		return arm.Errorf(http.StatusConflict, "VaultAlreadyExists", "The vault name '%s' is that of the deleted vault '%s', which is recovered under its own id only.", name, d.ID)
	case !strings.EqualFold(d.Location, new.Location):
		return arm.Errorf(http.StatusConflict, "InvalidResourceLocation", "The deleted vault '%s' is in location '%s'; it is recovered there only.", name, d.Location)
	}
	new.Properties = d.Vault
	if new.Tags == nil {
		new.Tags = d.Tags
	}
	return tx.Delete(kindDeleted, name, store.Any)
}

// forget gives the name of a purged vault back.
func forget(tx *rp.Tx, d *deletedVault) error {
	id, err := arm.ParseID(d.ID)
	if err != nil {
		return err
	}
	return errors.Join(tx.Delete(kindDeleted, strings.ToLower(id.Name()), store.Any), names.Release(tx, id))
}

// UseDeleted gives the provider what deleted vaults need: transactions (Engine.Update), and what removes all secrets of a
// vault, by its lower-case name, whose retention time is over.
func (p *Provider) UseDeleted(update func(context.Context, func(*rp.Tx) error) error, forget func(tx store.Tx, vault string) error) {
	p.update, p.forget = update, forget
}

const (
	subscriptionVaults = "/subscriptions/{subscription}/providers/Microsoft.KeyVault"
	oneDeleted         = subscriptionVaults + "/locations/{location}/deletedVaults/{vault}"
)

// deletedRoutes serve deleted vaults: they are no resources.
func (p *Provider) deletedRoutes() rp.Registration {
	return rp.Routes(
		rp.Route{Method: http.MethodGet, Pattern: subscriptionVaults + "/deletedVaults", Permission: "Microsoft.KeyVault/deletedVaults/read", Versions: versions, Reads: true, Do: listDeleted},
		// az keyvault list-deleted asks for both kinds.
		rp.Route{Method: http.MethodGet, Pattern: subscriptionVaults + "/deletedManagedHSMs", Permission: "Microsoft.KeyVault/deletedManagedHsms/read", Versions: versions, Reads: true, Do: noHSMs},
		rp.Route{Method: http.MethodGet, Pattern: oneDeleted, Permission: "Microsoft.KeyVault/locations/deletedVaults/read", Versions: versions, Reads: true, Do: showDeleted},
		rp.Route{Method: http.MethodPost, Pattern: oneDeleted + "/purge", Permission: "Microsoft.KeyVault/locations/deletedVaults/purge/action", Versions: versions, Serve: p.purge},
		rp.Route{Method: http.MethodGet, Pattern: subscriptionVaults + "/locations/{location}/operationResults/{operation}", Permission: "Microsoft.KeyVault/locations/operationResults/read", Versions: versions, Reads: true, Do: purged},
	)
}

func listDeleted(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	value := []any{}
	var bad error
	err := tx.Scan(kindDeleted, "", "", func(doc store.Doc) bool {
		d := new(deletedVault)
		if bad = json.Unmarshal(doc.Value, d); bad != nil {
			return false
		}
		id, err := arm.ParseID(d.ID)
		if err != nil || !strings.EqualFold(id.Subscription(), path["subscription"]) || d.gone(tx.Now) {
			return true
		}
		var b map[string]any
		b, bad = d.body()
		value = append(value, b)
		return bad == nil
	})
	if err := errors.Join(err, bad); err != nil {
		return nil, err
	}
	return map[string]any{"value": value}, nil
}

func noHSMs(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error) {
	return map[string]any{"value": []any{}}, nil
}

// deletedAt is the deleted vault of a path, or 404 DeletedVaultNotFound.
func deletedAt(tx *rp.Tx, path map[string]string) (*deletedVault, error) {
	d, err := readDeleted(tx, path["vault"])
	if err != nil {
		return nil, err
	}
	if d != nil {
		id, err := arm.ParseID(d.ID)
		if err == nil && strings.EqualFold(id.Subscription(), path["subscription"]) && strings.EqualFold(d.Location, path["location"]) && !d.gone(tx.Now) {
			return d, nil
		}
	}
	return nil, arm.Errorf(http.StatusNotFound, "DeletedVaultNotFound", "The specified deleted vault '%s' does not exist.", path["vault"])
}

func showDeleted(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	d, err := deletedAt(tx, path)
	if err != nil {
		return nil, err
	}
	return d.body()
}

// purge destroys a deleted vault and all that it held. The vault is marked first, so that nobody recovers one whose keys
// are being destroyed; a purge that was cut short is asked for again.
func (p *Provider) purge(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error) {
	var d *deletedVault
	err := p.update(ctx, func(tx *rp.Tx) (err error) {
		if d, err = readDeleted(tx, path["vault"]); err != nil {
			return err
		}
		if d == nil || !d.Purging {
			if d, err = deletedAt(tx, path); err != nil {
				return err
			}
		}
		if d.protected() && !d.Purging {
			return arm.Errorf(http.StatusConflict, "MethodNotAllowed", "Operation 'DeletedVaultPurge' is not allowed: purge protection of the vault '%s' is enabled until %s.", path["vault"], d.Purge.Format(time.RFC3339))
		}
		d.Purging = true
		return d.write(tx)
	})
	if err != nil {
		return nil, err
	}
	if err := p.data.DropVault(ctx, d.ID); err != nil {
		return nil, err
	}
	if err := p.update(ctx, func(tx *rp.Tx) error { return forget(tx, d) }); err != nil {
		return nil, err
	}
	h := http.Header{}
	h.Set("Location", r.Base+"/subscriptions/"+path["subscription"]+"/providers/Microsoft.KeyVault/locations/"+path["location"]+"/operationResults/"+uuid.NewString()+"?api-version="+r.Query.Get("api-version"))
	h.Set("Retry-After", "1")
	return &rp.Response{Status: http.StatusAccepted, Header: h}, nil
}

// purged is the end of a purge: it was over when its Location was given out.
func purged(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	if uuid.Validate(path["operation"]) != nil {
		return nil, arm.Errorf(http.StatusNotFound, "NotFound", "There is no operation '%s'.", path["operation"])
	}
	return &rp.Response{Status: http.StatusOK}, nil
}
