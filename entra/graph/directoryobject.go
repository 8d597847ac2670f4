package graph

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// readObjects is the need of calls that name objects of any kind by their ids.
var readObjects = Need{Application: slices.Concat(readUsers.Application, readGroups.Application, readApplications.Application), Delegated: slices.Concat(readUsers.Delegated, readGroups.Delegated, readApplications.Delegated), Action: "users/standard/read", Members: true}

func (c *Call) byIDs() error {
	var body struct{ IDs, Types []string }
	if err := c.Body(&body); err != nil {
		return err
	}
	if len(body.IDs) == 0 || len(body.IDs) > 1000 {
		return badRequest("Property 'ids' has 1 to 1000 ids.")
	}
	found, seen := []object{}, map[string]bool{}
	err := c.View(func(tx store.Tx) error {
		for _, id := range body.IDs {
			r, err := c.dir.Find(tx, id)
			if errors.Is(err, directory.ErrNotFound) || seen[r.ID] {
				continue
			}
			if err != nil {
				return err
			}
			seen[r.ID] = true
			wanted := len(body.Types) == 0 || slices.ContainsFunc(body.Types, func(t string) bool {
				return strings.EqualFold(t, string(r.Type)) || strings.EqualFold(t, "directoryObject")
			})
			if !wanted {
				continue
			}
			o, err := c.entity(tx, r)
			if err != nil {
				return err
			}
			if o != nil {
				found = append(found, o)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusOK, map[string]any{"@odata.context": c.context("directoryObjects"), "value": found})
}

func (c *Call) getObject() error {
	var o object
	err := c.View(func(tx store.Tx) error {
		r, err := c.thing(tx, c.Vars[0])
		if err != nil {
			return err
		}
		o, err = c.entity(tx, r)
		return err
	})
	if err != nil {
		return err
	}
	kind := o["@odata.type"]
	k := objectKind
	k.shown = nil
	o["@odata.context"] = c.context("directoryObjects/$entity")
	if len(c.query.selected) > 0 {
		o = k.project(o, append(slices.Clone(c.query.selected), "id"))
		o["@odata.type"] = kind
	}
	return c.Answer(http.StatusOK, o)
}

// containers are what getMemberGroups (groups) and getMemberObjects (directory roles too) find.
func (c *Call) containers(tx store.Tx, roles bool) (ids []string, err error) {
	who, err := c.holder(tx)
	if err != nil {
		return nil, err
	}
	if c.can.guest && who.ID != c.Caller.ObjectID {
		if err := c.Demand(readGroups); err != nil {
			return nil, err
		}
	}
	in, err := c.dir.TransitiveMemberOf(tx, who.ID)
	ids = []string{}
	for _, r := range in {
		if roles || r.Type == directory.TypeGroup {
			ids = append(ids, r.ID)
		}
	}
	slices.Sort(ids)
	return ids, err
}

// maxMemberships is how many groups Graph lists in one answer.
const maxMemberships = 11000

func (c *Call) memberGroups(roles bool) error {
	var body map[string]json.RawMessage
	if err := c.Body(&body); err != nil {
		return err
	}
	var ids []string
	err := c.View(func(tx store.Tx) (err error) {
		ids, err = c.containers(tx, roles)
		return err
	})
	if err != nil {
		return err
	}
	if len(ids) > maxMemberships {
		return fail(http.StatusBadRequest, "Directory_ResultSizeLimitExceeded", "The number of groups exceeds %d.", maxMemberships)
	}
	return c.Answer(http.StatusOK, map[string]any{"@odata.context": c.context("Collection(Edm.String)"), "value": ids})
}

func (c *Call) checkMemberGroups(roles bool) error {
	var body struct{ GroupIDs, IDs []string }
	if err := c.Body(&body); err != nil {
		return err
	}
	asked := append(body.GroupIDs, body.IDs...)
	if len(asked) > 20 {
		return badRequest("At most 20 ids can be checked at once.")
	}
	var ids []string
	err := c.View(func(tx store.Tx) (err error) {
		ids, err = c.containers(tx, roles)
		return err
	})
	if err != nil {
		return err
	}
	in := []string{}
	for _, id := range asked {
		if slices.Contains(ids, strings.ToLower(id)) {
			in = append(in, strings.ToLower(id))
		}
	}
	return c.Answer(http.StatusOK, map[string]any{"@odata.context": c.context("Collection(Edm.String)"), "value": in})
}

var (
	readDeleted = Need{Application: slices.Concat(readUsers.Application, readApplications.Application), Delegated: slices.Concat(readUsers.Delegated, readApplications.Delegated), Action: "users/standard/read", Members: true}
)

// deletedObject is an object of the recycle bin.
func deletedObject(d directory.Deleted) (object, error) {
	var o object
	var err error
	switch d.Type {
	case directory.TypeUser:
		var u directory.User
		err = json.Unmarshal(d.Value, &u)
		o = userObject(u)
	case directory.TypeApplication:
		var a directory.Application
		err = json.Unmarshal(d.Value, &a)
		o = applicationObject(a)
	case directory.TypeServicePrincipal:
		var p directory.ServicePrincipal
		err = json.Unmarshal(d.Value, &p)
		o = principalObject(p)
	}
	if err == nil {
		o["deletedDateTime"] = when(d.At)
	}
	return o, err
}

// listDeleted answers deletedItems/microsoft.graph.{type}.
func (c *Call) listDeleted() error {
	name := strings.TrimPrefix(strings.ToLower(c.Vars[0]), "microsoft.graph.")
	k := objectKind
	for _, candidate := range []kind{userKind, applicationKind, principalKind, groupKind} {
		if strings.EqualFold(candidate.name, name) {
			k = candidate
		}
	}
	if k.name == objectKind.name {
		return c.getDeleted()
	}
	k.shown = nil
	return c.list(k, func(tx store.Tx, after string, yield func(object) bool) error {
		var bad error
		err := c.dir.AllDeleted(tx, c.tenant(), after, func(d directory.Deleted) bool {
			if !strings.EqualFold(string(d.Type), name) {
				return true
			}
			var o object
			if o, bad = deletedObject(d); bad != nil {
				return false
			}
			return yield(o)
		})
		return errors.Join(err, bad)
	})
}

func (c *Call) deleted(tx store.Tx) (directory.Deleted, error) {
	d, err := c.dir.Deleted(tx, c.Vars[0])
	if errors.Is(err, directory.ErrNotFound) || err == nil && d.TenantID != c.tenant() {
		return d, notFound(c.Vars[0])
	}
	return d, err
}

func (c *Call) getDeleted() error {
	var o object
	if err := c.View(func(tx store.Tx) error {
		d, err := c.deleted(tx)
		if err != nil {
			return err
		}
		o, err = deletedObject(d)
		return err
	}); err != nil {
		return err
	}
	return c.one(http.StatusOK, objectKind, o)
}

// mayRestore refuses a caller who could not have deleted it.
func (c *Call) mayRestore(d directory.Deleted) error {
	if d.Type == directory.TypeUser {
		return c.Demand(userWrite("users/restore"))
	}
	own := slices.ContainsFunc(d.Edges.Owners, func(r directory.Ref) bool { return r.ID == c.Caller.ObjectID })
	return c.Allow(applicationWrite("deletedItems.applications/restore"), own)
}

func (c *Call) restore() error {
	var o object
	err := c.Update(func(tx store.Tx) error {
		d, err := c.deleted(tx)
		if err != nil {
			return err
		}
		if err := c.mayRestore(d); err != nil {
			return err
		}
		r, err := c.dir.Restore(tx, d.ID)
		if err != nil {
			return err
		}
		o, err = c.entity(tx, r)
		return err
	})
	if err != nil {
		return err
	}
	o["@odata.context"] = c.context("directoryObjects/$entity")
	return c.Answer(http.StatusOK, o)
}

func (c *Call) purge() error {
	err := c.Update(func(tx store.Tx) error {
		d, err := c.deleted(tx)
		if err != nil {
			return err
		}
		if err := c.mayRestore(d); err != nil {
			return err
		}
		return c.dir.Purge(tx, d.ID)
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}
