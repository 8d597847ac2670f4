package authorization

import (
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/locks"
)

// Lock is the properties of a management lock (Management Locks REST: ManagementLockProperties). What locks refuse is decided
// in package locks.
type Lock struct {
	Level  string      `json:"level"`
	Notes  string      `json:"notes,omitempty"`
	Owners []LockOwner `json:"owners,omitempty"`
}

// LockOwner is an application that a lock belongs to.
type LockOwner struct {
	ApplicationID string `json:"applicationId"`
}

const maxNotes = 512

// Locks is the resource type of management locks.
func Locks() rp.Registration {
	return rp.Of(rp.Type[Lock]{
		Name: locks.Type, Kind: rp.Extension, StateProperty: "-", SyncDelete: true,
		Versions:    rp.Versions[Lock]("2015-01-01", "2015-05-01-preview", "2015-06-01", "2016-09-01", "2017-04-01", "2020-05-01"),
		NamePattern: `^[^<>%&:\\?/]{1,260}$`,
		NameRule:    `The lock name has up to 260 characters, none of which is <, >, %, &, :, \, ?, / or a control character.`,
		Validate:    validateLock,
	})
}

func validateLock(_ rp.Op, new, _ *rp.Resource[Lock]) error {
	l := &new.Properties
	if new.ID.Scope().Subscription() == "" {
		return arm.Errorf(http.StatusBadRequest, "InvalidLockScope", "The scope '%s' cannot be locked: locks are for subscriptions, resource groups and resources.", new.ID.Scope())
	}
	if strings.EqualFold(new.ID.Scope().Type().String(), locks.Type) {
		return arm.Errorf(http.StatusBadRequest, "InvalidLockScope", "A lock cannot be locked.")
	}
	switch {
	case strings.EqualFold(l.Level, string(locks.CanNotDelete)):
		l.Level = string(locks.CanNotDelete)
	case strings.EqualFold(l.Level, string(locks.ReadOnly)):
		l.Level = string(locks.ReadOnly)
	default:
		return arm.Errorf(http.StatusBadRequest, "InvalidLockLevel", "properties.level: '%s' is not a lock level. It is CanNotDelete or ReadOnly.", l.Level)
	}
	if len(l.Notes) > maxNotes {
		return arm.Errorf(http.StatusBadRequest, "InvalidLockNotes", "properties.notes: the notes have more than %d characters.", maxNotes)
	}
	return nil
}
