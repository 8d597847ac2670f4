package arm

import "time"

// SystemData is the metadata that ARM keeps of who wrote a resource ("ARM RPC: systemData").
type SystemData struct {
	CreatedBy          string    `json:"createdBy,omitempty"`
	CreatedByType      string    `json:"createdByType,omitempty"` // User, Application, ManagedIdentity
	CreatedAt          time.Time `json:"createdAt,omitzero"`
	LastModifiedBy     string    `json:"lastModifiedBy,omitempty"`
	LastModifiedByType string    `json:"lastModifiedByType,omitempty"`
	LastModifiedAt     time.Time `json:"lastModifiedAt,omitzero"`
}

// Identity is the identity block of a resource envelope.
type Identity struct {
	Type                   string                   `json:"type,omitempty"` // None, SystemAssigned, UserAssigned, "SystemAssigned, UserAssigned"
	PrincipalID            string                   `json:"principalId,omitempty"`
	TenantID               string                   `json:"tenantId,omitempty"`
	UserAssignedIdentities map[string]*UserIdentity `json:"userAssignedIdentities,omitempty"`
}

// UserIdentity is one user-assigned identity of a resource; the key of the map is its resource id.
type UserIdentity struct {
	PrincipalID string `json:"principalId,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
}

// ProvisioningState of a resource.
type ProvisioningState string

const (
	Creating  ProvisioningState = "Creating"
	Updating  ProvisioningState = "Updating"
	Deleting  ProvisioningState = "Deleting"
	Succeeded ProvisioningState = "Succeeded"
	Failed    ProvisioningState = "Failed"
	Canceled  ProvisioningState = "Canceled"
)

// Terminal reports whether the state is an end state.
func (s ProvisioningState) Terminal() bool {
	return s == Succeeded || s == Failed || s == Canceled || s == ""
}
