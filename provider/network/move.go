package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// moved is the Move of the network's types: addresses and hidden interfaces are kept under ids of subnets and owners,
// and follow.
func moved[T any](_ context.Context, tx *rp.Tx, from arm.ID, r *rp.Resource[T]) error {
	for _, kind := range []string{addressKind, publicKind, nicKind, entryKind} {
		if err := renameIn(tx, kind, from, r.ID); err != nil {
			return err
		}
	}
	return nil
}

// movedVNet refuses what Azure refuses of virtual networks, and networks in which nodes of services run.
// https://learn.microsoft.com/azure/azure-resource-manager/management/move-limitations/networking-move-limitations
func movedVNet(ctx context.Context, tx *rp.Tx, from arm.ID, r *rp.Resource[VNet]) error {
	peerings, err := rp.List[Peering](tx, PeeringType, r.ID)
	if err != nil {
		return err
	}
	if len(peerings) > 0 {
		return arm.Errorf(http.StatusConflict, "VirtualNetworkWithPeeringsCannotBeMoved", "The virtual network '%s' has the peering '%s'. Remove its peerings before it is moved.", from, peerings[0].ID.Name())
	}
	hidden, err := HiddenNICs(tx)
	if err != nil {
		return err
	}
	for _, n := range hidden {
		if strings.EqualFold(n.VNet, from.String()) && n.Kind != ExecKind {
			return arm.Errorf(http.StatusConflict, "VirtualNetworkInUseByServiceCannotBeMoved", "The virtual network '%s' cannot be moved: '%s' of a service is in its subnet '%s'.", from, n.ID, n.Subnet)
		}
	}
	return moved(ctx, tx, from, r)
}

// renameIn replaces an id in the keys and texts of the documents of a kind.
func renameIn(tx *rp.Tx, kind string, from, to arm.ID) error {
	var stale []store.Doc
	err := tx.Scan(kind, "", "", func(d store.Doc) bool {
		if named(d.Key, from) || bytes.Contains(bytes.ToLower(d.Value), []byte(from.Key())) {
			stale = append(stale, d)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, d := range stale {
		var v any
		if err := json.Unmarshal(d.Value, &v); err != nil {
			return err
		}
		b, err := json.Marshal(renamed(v, from, to))
		if err != nil {
			return err
		}
		key := d.Key
		if named(key, from) {
			id := to.String()
			if key == strings.ToLower(key) { // as addresses have it
				id = to.Key()
			}
			key = id + key[len(from.String()):]
		}
		if key == d.Key {
			_, err = tx.Put(kind, key, b, d.Version)
		} else {
			_, err = tx.Put(kind, key, b, store.None)
			err = errors.Join(err, tx.Delete(kind, d.Key, d.Version))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// named says that a text is the id or begins with it and a slash.
func named(s string, id arm.ID) bool {
	old := id.String()
	return len(s) >= len(old) && strings.EqualFold(s[:len(old)], old) && (len(s) == len(old) || s[len(old)] == '/')
}

func renamed(v any, from, to arm.ID) any {
	switch v := v.(type) {
	case string:
		if named(v, from) {
			return to.String() + v[len(from.String()):]
		}
	case []any:
		for i := range v {
			v[i] = renamed(v[i], from, to)
		}
	case map[string]any:
		for k := range v {
			v[k] = renamed(v[k], from, to)
		}
	}
	return v
}
