package networkwatcher

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/flowlog"
	"vauban.dev/provider/network"
	"vauban.dev/provider/storage"
)

// FlowLogType is the resource type of flow logs.
const FlowLogType = Type + "/flowLogs"

// FlowLog is the properties of a flow log (Network REST: FlowLogPropertiesFormat).
type FlowLog struct {
	TargetID   string          `json:"targetResourceId"`
	TargetGUID string          `json:"targetResourceGuid,omitempty" rp:"readonly"`
	StorageID  string          `json:"storageId"`
	Enabled    *bool           `json:"enabled"`
	Retention  Retention       `json:"retentionPolicy"`
	Format     Format          `json:"format"`
	Filter     string          `json:"enabledFilteringCriteria,omitempty"`
	Records    string          `json:"recordTypes,omitempty"`
	Analytics  json.RawMessage `json:"flowAnalyticsConfiguration,omitempty"`

	GUID string `json:"resourceGuid,omitempty" rp:"private"` // of the log itself, which records name
}

// Retention says how long records are kept; 0 days is for ever.
type Retention struct {
	Days    int  `json:"days"`
	Enabled bool `json:"enabled"`
}

// Format of the records.
type Format struct {
	Type    string `json:"type"`
	Version int    `json:"version"`
}

func (p *Provider) flowLogType() rp.Registration {
	changed := func(ctx context.Context, _ *rp.Resource[FlowLog]) (rp.Result, error) {
		if p.cfg.FlowLogs == nil {
			return rp.Result{}, nil
		}
		return rp.Result{}, p.cfg.FlowLogs(ctx)
	}
	return rp.Of(rp.Type[FlowLog]{
		Name: FlowLogType, Kind: rp.Tracked, Versions: rp.Versions[FlowLog](flowLogVersions()...), ShowETag: true,
		NamePattern: `^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,78}[a-zA-Z0-9_])?$`,
		NameRule:    "The name can be up to 80 characters long. It must begin with a word character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'.",
		Default: func(_ string, r *rp.Resource[FlowLog]) {
			if r.Properties.Enabled == nil {
				r.Properties.Enabled = new(bool)
			}
			if r.Properties.Format == (Format{}) {
				r.Properties.Format = Format{"JSON", 2}
			}
		},
		Validate:  validateFlowLog,
		Admit:     admitFlowLog,
		Links:     flowLogLinks,
		Reconcile: changed,
		Finalize:  changed,
	})
}

func flowLogVersions() []string {
	all := network.Versions()
	return all[slices.Index(all, "2019-11-01"):]
}

func validateFlowLog(_ rp.Op, new, old *rp.Resource[FlowLog]) error {
	f := &new.Properties
	target, err := arm.ParseID(f.TargetID)
	if err != nil {
		return err
	}
	kind := target.Type().String()
	switch {
	case strings.EqualFold(kind, network.NSGType):
		return bad("NsgFlowLogCreationBlocked", "Network security group flow logs are retired: new ones cannot be created since June 30, 2025. Name a virtual network, a subnet or a network interface as the target.")
	case !slices.ContainsFunc([]string{network.VNetType, network.SubnetType, network.NICType}, func(t string) bool { return strings.EqualFold(t, kind) }):
		return bad("InvalidRequestFormat", "properties.targetResourceId is '%s', which is no virtual network, subnet or network interface.", f.TargetID)
	case old != nil && !strings.EqualFold(old.Properties.TargetID, f.TargetID):
		return bad("PropertyChangeNotAllowed", "properties.targetResourceId of flow log %s cannot be changed.", new.ID)
	case f.Retention.Days < 0 || f.Retention.Days > 365:
		return bad("InvalidRequestFormat", "properties.retentionPolicy.days is %d: between 0 and 365.", f.Retention.Days)
	case !strings.EqualFold(f.Format.Type, "JSON") || f.Format.Version != 1 && f.Format.Version != 2:
		return bad("InvalidRequestFormat", "properties.format: JSON, version 1 or 2.")
	}
	if filter, err := flowlog.ParseFilter(f.Filter); err != nil {
		return bad("InvalidRequestFormat", "properties.enabledFilteringCriteria of flow log %s: %s.", new.ID, err)
	} else if err := filter.RecordTypes(f.Records); err != nil {
		return bad("InvalidRequestFormat", "properties.recordTypes of flow log %s: %s.", new.ID, err)
	}
	if id, err := arm.ParseID(f.StorageID); err != nil || !strings.EqualFold(id.Type().String(), storage.AccountType) {
		return bad("InvalidRequestFormat", "properties.storageId is '%s', which is no storage account.", f.StorageID)
	}
	return nil
}

// flowLogLinks: whoever has records of a target written into an account may read the target, and the account's keys.
func flowLogLinks(r *rp.Resource[FlowLog]) (links []rp.Link) {
	if id, err := arm.ParseID(r.Properties.StorageID); err == nil {
		links = append(links, rp.Link{Action: storage.AccountType + "/listKeys/action", ID: id})
	}
	if l, ok := reads(r.Properties.TargetID); ok {
		links = append(links, l)
	}
	return links
}

func admitFlowLog(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[FlowLog]) error {
	f := &new.Properties
	w, err := rp.Get[Watcher](tx, new.ID.Parent())
	if err != nil {
		return err
	}
	target, err := arm.ParseID(f.TargetID)
	if err != nil {
		return err
	}
	location, guid, err := standingOf(tx, target)
	if err != nil {
		return err
	}
	if !strings.EqualFold(location, w.Location) || !strings.EqualFold(target.Subscription(), new.ID.Subscription()) {
		return bad("InvalidResourceReference", "Resource %s referenced by resource %s must be in the same subscription and region as its network watcher.", target, new.ID)
	}
	account, err := arm.ParseID(f.StorageID)
	if err != nil {
		return err
	}
	s, err := rp.Get[storage.Account](tx, account)
	if err != nil {
		return err
	}
	if !strings.EqualFold(s.Location, w.Location) {
		return bad("InvalidStorageAccount", "Storage account %s must be in the region of flow log %s, %s.", account, new.ID, w.Location)
	}
	if op != rp.Create {
		return nil
	}
	f.TargetGUID, f.GUID = cmp.Or(guid, uuid.NewString()), uuid.NewString() // a subnet has none of its own
	others, err := rp.List[FlowLog](tx, FlowLogType, new.ID.Parent())
	for _, o := range others {
		if o.ID.Key() != new.ID.Key() && strings.EqualFold(o.Properties.TargetID, f.TargetID) {
			return arm.Errorf(http.StatusConflict, "FlowLogAlreadyExists", "Resource %s has flow log %s already.", target, o.ID)
		}
	}
	return err
}

// standingOf is the location and the resourceGuid of a target; a subnet has no GUID.
func standingOf(tx *rp.Tx, id arm.ID) (location, guid string, err error) {
	if strings.EqualFold(id.Type().String(), network.NICType) {
		n, err := rp.Get[network.Interface](tx, id)
		if err != nil {
			return "", "", err
		}
		return n.Location, n.Properties.ResourceGUID, nil
	}
	subnet := strings.EqualFold(id.Type().String(), network.SubnetType)
	if subnet {
		if _, err := rp.Get[network.Subnet](tx, id); err != nil {
			return "", "", err
		}
		id = id.Parent()
	}
	v, err := rp.Get[network.VNet](tx, id)
	if err != nil || subnet {
		if v != nil {
			location = v.Location
		}
		return location, "", err
	}
	return v.Location, v.Properties.ResourceGUID, nil
}

// FlowLogs are the flow logs that are switched on.
func FlowLogs(tx *rp.Tx) ([]flowlog.Log, error) {
	all, err := rp.List[FlowLog](tx, FlowLogType, arm.MustParseID("/"))
	var out []flowlog.Log
	for _, l := range all {
		f := &l.Properties
		if l.State == arm.Deleting || f.Enabled == nil || !*f.Enabled {
			continue
		}
		days := 0
		if f.Retention.Enabled {
			days = f.Retention.Days
		}
		filter, err := flowlog.ParseFilter(f.Filter)
		if err == nil {
			err = filter.RecordTypes(f.Records)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, flowlog.Log{ID: l.ID.String(), GUID: f.GUID, Target: f.TargetID, Storage: f.StorageID, Days: days, Filter: filter})
	}
	return out, err
}
