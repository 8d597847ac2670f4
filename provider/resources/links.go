package resources

import (
	"context"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// LinkType is the type of links between resources, which say that one has to do with another and no more.
const LinkType = "Microsoft.Resources/links"

// Link is the properties of a link (Resource Links REST: ResourceLinkProperties).
type Link struct {
	SourceID string `json:"sourceId,omitempty" rp:"readonly"`
	TargetID string `json:"targetId"`
	Notes    string `json:"notes,omitempty"`
}

func links() rp.Registration {
	return rp.Of(rp.Type[Link]{
		Name: LinkType, Kind: rp.Extension, Versions: rp.Versions[Link]("2015-01-01", "2016-09-01"), StateProperty: "-", SyncDelete: true,
		Validate: func(_ rp.Op, new, _ *rp.Resource[Link]) error {
			if _, err := arm.ParseID(new.Properties.TargetID); err != nil {
				return arm.Errorf(http.StatusBadRequest, "InvalidResourceLinkTarget", "properties.targetId: '%s' is not the id of a resource.", new.Properties.TargetID)
			}
			return nil
		},
		Present: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Link]) error {
			r.Properties.SourceID = strings.TrimSuffix(r.ID.Scope().String(), "/") + "/"
			r.Properties.TargetID = strings.TrimSuffix(r.Properties.TargetID, "/") + "/"
			return nil
		},
	})
}
