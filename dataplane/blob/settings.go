package blob

import (
	"context"
	"errors"

	"vauban.dev/internal/storagehttp"
)

// BlobSettings are what blobServices/default says of an account's blobs.
type BlobSettings struct {
	Versioning     bool
	DeleteDays     int // soft delete of blobs; 0: off
	ContainerDays  int // soft delete of containers; 0: off
	DefaultVersion string
	CORS           []storagehttp.CORSRule
}

// Settings keeps them. The provider of Microsoft.Storage implements it: Resource Manager and Set Blob Service Properties are two
// ways to the same resource.
type Settings interface {
	// BlobSettings is asked by every write: it must be quick. storagehttp.ErrNoAccount.
	BlobSettings(ctx context.Context, account string) (BlobSettings, error)
	// SetBlobSettings changes them as f says, but not Versioning and ContainerDays, which Resource Manager alone sets.
	SetBlobSettings(ctx context.Context, account string, f func(*BlobSettings)) error
}

// settings are the account's; an account that is not known keeps nothing.
func (s *Service) settings(ctx context.Context, account string) (BlobSettings, error) {
	if s.policy == nil {
		return BlobSettings{}, nil
	}
	b, err := s.policy.BlobSettings(ctx, account)
	if errors.Is(err, storagehttp.ErrNoAccount) {
		return b, nil
	}
	return b, err
}
