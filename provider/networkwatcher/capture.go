package networkwatcher

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/capture"
	"vauban.dev/provider/network"
	"vauban.dev/provider/storage"
)

// CaptureType is the resource type of packet captures.
const CaptureType = Type + "/packetCaptures"

// Capture is the properties of a packet capture (Network REST: PacketCaptureParameters).
type Capture struct {
	Target     string          `json:"target"`
	TargetType string          `json:"targetType,omitempty"`
	PerPacket  int             `json:"bytesToCapturePerPacket"` // 0 is all
	Total      int64           `json:"totalBytesPerSession"`
	Seconds    int             `json:"timeLimitInSeconds"`
	Location   StorageLocation `json:"storageLocation"`
	Filters    []CaptureFilter `json:"filters"`

	Status CaptureStatus `json:"captureStatus,omitzero" rp:"private"`
}

// StorageLocation says where the file goes.
type StorageLocation struct {
	StorageID   string `json:"storageId,omitempty"`
	StoragePath string `json:"storagePath,omitempty"`
	FilePath    string `json:"filePath,omitempty"`
}

// CaptureFilter takes some packets (Network REST: PacketCaptureFilter).
type CaptureFilter struct {
	Protocol   string `json:"protocol,omitempty"`
	Local      string `json:"localIPAddress,omitempty"`
	Remote     string `json:"remoteIPAddress,omitempty"`
	LocalPort  string `json:"localPort,omitempty"`
	RemotePort string `json:"remotePort,omitempty"`
}

// CaptureStatus is what became of a capture. Reason is set once it has ended.
type CaptureStatus struct {
	Started time.Time `json:"started,omitzero"`
	Reason  string    `json:"reason,omitempty"` // TimeExceeded, CaptureStopped, SizeExceeded … Azure's stopReason
	Error   string    `json:"error,omitempty"`
}

// Ended reports whether the capture runs no more.
func (s CaptureStatus) Ended() bool { return s.Reason != "" || s.Error != "" }

// Azure's defaults and limits of a capture, and reasons of its end.
const (
	defaultTotal   = 1 << 30
	defaultSeconds = 18000

	StopTime  = "TimeExceeded"
	StopAsked = "CaptureStopped"
	StopSize  = "SizeExceeded"
)

// Captures run captures.
type Captures interface {
	// Start runs a capture that does not run yet; it saves its own end by SaveCapture.
	Start(id arm.ID, c Capture)
	// Stop ends a capture and returns when its file is written; no capture of that id is no error.
	Stop(ctx context.Context, id arm.ID)
}

func (p *Provider) captureType() rp.Registration {
	return rp.Of(rp.Type[Capture]{
		Name: CaptureType, Kind: rp.Proxy, Versions: rp.Versions[Capture](network.Versions()...), ShowETag: true,
		NamePattern: `^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,78}[a-zA-Z0-9_])?$`,
		NameRule:    "The name can be up to 80 characters long. It must begin with a word character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'.",
		Default:     defaultCapture,
		Validate:    validateCapture,
		Admit:       admitCapture,
		Links:       captureLinks,
		Reconcile: func(_ context.Context, r *rp.Resource[Capture]) (rp.Result, error) {
			if p.cfg.Captures != nil && !r.Properties.Status.Ended() {
				p.cfg.Captures.Start(r.ID, r.Properties)
			}
			return rp.Result{}, nil
		},
		Finalize: func(ctx context.Context, r *rp.Resource[Capture]) (rp.Result, error) {
			p.stopCapture(ctx, r.ID)
			return rp.Result{}, nil
		},
		Actions: map[string]rp.Action[Capture]{
			"queryStatus": {Do: queryCapture},
			"stop": {Async: func(ctx context.Context, r *rp.Resource[Capture], _ []byte) (any, error) {
				p.stopCapture(ctx, r.ID)
				return nil, nil
			}},
		},
	})
}

func (p *Provider) stopCapture(ctx context.Context, id arm.ID) {
	if p.cfg.Captures != nil {
		p.cfg.Captures.Stop(ctx, id)
	}
}

func defaultCapture(_ string, r *rp.Resource[Capture]) {
	c := &r.Properties
	if c.Total == 0 {
		c.Total = defaultTotal
	}
	if c.Seconds == 0 {
		c.Seconds = defaultSeconds
	}
	if c.Filters == nil {
		c.Filters = []CaptureFilter{}
	}
}

func validateCapture(op rp.Op, new, _ *rp.Resource[Capture]) error {
	c := &new.Properties
	switch {
	case op == rp.Update:
		return bad("PacketCaptureCannotBeChanged", "Packet capture %s exists and cannot be changed. Delete it first.", new.ID)
	case c.TargetType != "" && !strings.EqualFold(c.TargetType, "AzureVM"):
		return arm.NotImplemented("properties.targetType %s is not implemented.", c.TargetType)
	case c.PerPacket < 0 || c.Total < 0 || c.Total > 4<<30-1 || c.Seconds < 0 || c.Seconds > defaultSeconds:
		return bad("InvalidRequestFormat", "properties: bytesToCapturePerPacket from 0, totalBytesPerSession up to 4294967295, timeLimitInSeconds up to 18000.")
	case c.Location.FilePath != "":
		return arm.NotImplemented("properties.storageLocation.filePath is not implemented: an interface has no disk. Name a storage account.")
	}
	id, err := arm.ParseID(c.Location.StorageID)
	if err != nil || !strings.EqualFold(id.Type().String(), storage.AccountType) {
		return bad("InvalidRequestFormat", "properties.storageLocation.storageId is '%s', which is no storage account.", c.Location.StorageID)
	}
	if _, _, err := c.Blob(new.ID, time.Time{}); err != nil {
		return err
	}
	_, err = c.Taken()
	return err
}

// Taken are the filters as package capture has them.
func (c *Capture) Taken() (out []capture.Filter, err error) {
	for i, f := range c.Filters {
		x, err := capture.ParseFilter(f.Protocol, f.Local, f.Remote, f.LocalPort, f.RemotePort)
		if err != nil {
			return nil, bad("InvalidRequestFormat", "properties.filters[%d]: %v.", i, err)
		}
		out = append(out, x)
	}
	return out, nil
}

// Blob is the container and the name of the capture's file: that of storagePath, or Azure's own.
func (c *Capture) Blob(id arm.ID, started time.Time) (container, name string, err error) {
	if c.Location.StoragePath == "" {
		account := strings.Trim(strings.ToLower(c.Target), "/")
		return "network-watcher-logs", account + started.UTC().Format("/2006/01/02/packetcapture_15_04_05_") + id.Name() + ".cap", nil
	}
	account, err := arm.ParseID(c.Location.StorageID)
	if err != nil {
		return "", "", err
	}
	u, err := url.Parse(c.Location.StoragePath)
	host := strings.ToLower(account.Name()) + ".blob.core.windows.net"
	if err != nil || u.Scheme != "https" || !strings.EqualFold(u.Host, host) {
		return "", "", bad("InvalidRequestFormat", "properties.storageLocation.storagePath is '%s': https://%s/CONTAINER/NAME.cap.", c.Location.StoragePath, host)
	}
	container, name, ok := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if !ok || container == "" || name == "" {
		return "", "", bad("InvalidRequestFormat", "properties.storageLocation.storagePath is '%s': https://%s/CONTAINER/NAME.cap.", c.Location.StoragePath, host)
	}
	return container, name, nil
}

// captureLinks: whoever has packets written into an account may read its keys; who captures at a machine or an interface
// runs something there, and may change it.
func captureLinks(r *rp.Resource[Capture]) (links []rp.Link) {
	if id, err := arm.ParseID(r.Properties.Location.StorageID); err == nil {
		links = append(links, rp.Link{Action: storage.AccountType + "/listKeys/action", ID: id})
	}
	if id, err := arm.ParseID(r.Properties.Target); err == nil && !id.Type().IsZero() {
		links = append(links, rp.Link{Action: id.Type().String() + "/write", ID: id})
	}
	return links
}

func admitCapture(_ context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[Capture]) error {
	w, err := rp.Get[Watcher](tx, new.ID.Parent())
	if err != nil {
		return err
	}
	nic, err := interfaceOf(tx, w, "properties.target", new.Properties.Target)
	if err != nil {
		return err
	}
	if !strings.EqualFold(nic.String(), strings.TrimRight(new.Properties.Target, "/")) {
		return arm.NotImplemented("properties.target %s: name the machine's network interface, %s.", new.Properties.Target, nic)
	}
	id, err := arm.ParseID(new.Properties.Location.StorageID)
	if err != nil {
		return err
	}
	if _, err := rp.Get[storage.Account](tx, id); err != nil {
		return err
	}
	new.Properties.Status = CaptureStatus{Started: tx.Now}
	return nil
}

// queryCapture is queryStatus (Network REST: PacketCaptureQueryStatusResult).
func queryCapture(_ context.Context, _ *rp.Tx, r *rp.Resource[Capture], _ []byte) (any, error) {
	s := r.Properties.Status
	status, failures := "Running", []string{}
	switch {
	case s.Error != "":
		status, failures = "Error", []string{"InternalError"}
	case s.Reason != "":
		status = "Stopped"
	}
	out := map[string]any{
		"name": r.ID.Name(), "id": r.ID.String(), "captureStartTime": s.Started.UTC().Format(time.RFC3339Nano),
		"packetCaptureStatus": status, "packetCaptureError": failures,
	}
	if s.Reason != "" {
		out["stopReason"] = s.Reason
	}
	return out, nil
}

// SaveCapture notes the end of a capture, unless it has gone or ended already.
func SaveCapture(tx *rp.Tx, id arm.ID, s CaptureStatus) error {
	r, err := rp.Get[Capture](tx, id)
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return nil
	}
	if err != nil || r.Properties.Status.Ended() {
		return err
	}
	s.Started = r.Properties.Status.Started
	r.Properties.Status = s
	return rp.Save(tx, r)
}
