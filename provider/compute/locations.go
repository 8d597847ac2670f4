package compute

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// routes are what a location has: sizes, quota, images by publisher (Compute REST: virtualMachineSizes, usages,
// virtualMachineImages, virtualMachineExtensionImages, resourceSkus).
func (p *Provider) routes() []rp.Route {
	const location = "/subscriptions/{subscription}/providers/" + Namespace + "/locations/{location}"
	const publisher = location + "/publishers/{publisher}"
	const vmimage = publisher + "/artifacttypes/vmimage/offers"
	const extension = publisher + "/artifacttypes/vmextension/types"
	read := func(pattern, permission string, do func(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error)) rp.Route {
		return rp.Route{Method: http.MethodGet, Pattern: pattern, Permission: Namespace + "/" + permission + "/read", Versions: versions, Reads: true, Do: do}
	}
	return []rp.Route{
		read(location+"/vmSizes", "locations/vmSizes", p.listSizes),
		read(location+"/usages", "locations/usages", usages),
		{Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/providers/" + Namespace + "/skus", Permission: Namespace + "/skus/read", Versions: skuVersions, Reads: true, Do: p.skus},
		read(location+"/publishers", "locations/publishers", publishers),
		read(vmimage, "locations/publishers/artifacttypes/offers", offers),
		read(vmimage+"/{offer}/skus", "locations/publishers/artifacttypes/offers/skus", imageSKUs),
		read(vmimage+"/{offer}/skus/{sku}/versions", "locations/publishers/artifacttypes/offers/skus/versions", imageVersions),
		read(vmimage+"/{offer}/skus/{sku}/versions/{version}", "locations/publishers/artifacttypes/offers/skus/versions", imageVersion),
		read(extension, "locations/publishers/artifacttypes/types", extensionTypes),
		read(extension+"/{type}/versions", "locations/publishers/artifacttypes/types/versions", extensionVersions),
		read(extension+"/{type}/versions/{version}", "locations/publishers/artifacttypes/types/versions", extensionVersion),
	}
}

var skuVersions = []string{"2016-09-01", "2017-03-30", "2017-09-01", "2019-04-01", "2021-07-01"}

// entry is an element of the lists of a publisher; its id is spelled as Compute spells it.
type entry struct {
	Location   string         `json:"location"`
	Name       string         `json:"name"`
	ID         string         `json:"id"`
	Properties map[string]any `json:"properties,omitempty"`
}

// at is an entry of a path below the location: "Publishers", "Canonical", …
func at(path map[string]string, below ...string) entry {
	return entry{
		Location: path["location"], Name: below[len(below)-1],
		ID: "/Subscriptions/" + path["subscription"] + "/Providers/" + Namespace + "/Locations/" + path["location"] + "/" + strings.Join(below, "/"),
	}
}

func publishers(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	out := []entry{}
	for _, n := range publisherNames {
		out = append(out, at(path, "Publishers", n))
	}
	return out, nil
}

func imagePath(i Image, below ...string) []string {
	return append([]string{"Publishers", i.Publisher, "ArtifactTypes", "VMImage", "Offers", i.Offer}, below...)
}

func offers(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	out := []entry{}
	for _, i := range images {
		e := at(path, imagePath(i)...)
		if strings.EqualFold(i.Publisher, path["publisher"]) && !slices.ContainsFunc(out, func(x entry) bool { return x.ID == e.ID }) {
			out = append(out, e)
		}
	}
	return out, known(path["publisher"])
}

// known refuses a publisher that the region does not know. Of most of those that it knows it has neither images nor
// extensions.
func known(publisher string) error {
	if slices.ContainsFunc(publisherNames, func(n string) bool { return strings.EqualFold(n, publisher) }) {
		return nil
	}
	return arm.Errorf(http.StatusNotFound, "NotFound", "Artifact: Publisher '%s' was not found.", clip(publisher))
}

func imageSKUs(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	out := []entry{}
	for _, i := range images {
		if strings.EqualFold(i.Publisher, path["publisher"]) && strings.EqualFold(i.Offer, path["offer"]) {
			e := at(path, imagePath(i, "Skus", i.SKU)...)
			e.Properties = map[string]any{"automaticOSUpgradeProperties": map[string]any{"automaticOSUpgradeSupported": false}}
			out = append(out, e)
		}
	}
	if len(out) == 0 {
		return nil, noArtifact(path)
	}
	return out, nil
}

func noArtifact(path map[string]string) error {
	e := arm.Errorf(http.StatusNotFound, "NotFound", "Artifact: VMImage was not found: publisher '%s', offer '%s', sku '%s', version '%s'.", clip(path["publisher"]), clip(path["offer"]), clip(path["sku"]), clip(path["version"]))
	e.Target = "imageReference"
	return e
}

func imageVersions(_ context.Context, _ *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	i := imageOf(path["publisher"], path["offer"], path["sku"])
	if i == nil {
		return nil, noArtifact(path)
	}
	list := slices.Clone(i.Versions)
	switch order := query["$orderby"]; strings.ToLower(order) {
	case "", "name", "name asc":
	case "name desc":
		slices.Reverse(list)
	default:
		return nil, invalid("$orderby", "The value '%s' of '$orderby' is invalid: name asc or name desc.", clip(order))
	}
	if top := query["$top"]; top != "" {
		n, err := strconv.Atoi(top)
		if err != nil || n < 1 {
			return nil, invalid("$top", "The value '%s' of '$top' is invalid: a number above 0.", clip(top))
		}
		list = list[:min(n, len(list))]
	}
	out := []entry{}
	for _, v := range list {
		e := at(path, imagePath(*i, "Skus", i.SKU, "Versions", v)...)
		if strings.EqualFold(query["$expand"], "properties") {
			e.Properties = i.properties()
		}
		out = append(out, e)
	}
	return out, nil
}

func imageVersion(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	i := imageOf(path["publisher"], path["offer"], path["sku"])
	if i == nil {
		return nil, noArtifact(path)
	}
	v := path["version"]
	if strings.EqualFold(v, "latest") {
		v = i.Versions[len(i.Versions)-1]
	}
	if !slices.Contains(i.Versions, v) {
		return nil, noArtifact(path)
	}
	e := at(path, imagePath(*i, "Skus", i.SKU, "Versions", v)...)
	e.Properties = i.properties()
	return e, nil
}

func (i *Image) properties() map[string]any {
	out := map[string]any{
		"osDiskImage": map[string]any{"operatingSystem": i.OS, "sizeInGb": i.DiskGB}, "dataDiskImages": []any{}, "hyperVGeneration": i.Generation, "architecture": i.Architecture,
		"automaticOSUpgradeProperties": map[string]any{"automaticOSUpgradeSupported": false}, "disallowed": map[string]any{"vmDiskType": "None"}, "replicaType": "Managed",
		"features": []any{}, "imageDeprecationStatus": map[string]any{"imageState": "Active"},
	}
	if i.Plan {
		out["plan"] = map[string]any{"publisher": i.Publisher, "product": i.Offer, "name": i.SKU}
	}
	return out
}

// extension is one that machines may name; it runs nowhere.
type extension struct {
	publisher, name, os string
	versions            []string
}

// https://learn.microsoft.com/azure/virtual-machines/extensions/overview
var extensions = []extension{
	{"Microsoft.Azure.Extensions", "CustomScript", "Linux", []string{"2.0", "2.1"}},
	{"Microsoft.Azure.ActiveDirectory", "AADSSHLoginForLinux", "Linux", []string{"1.0"}},
	{"Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent", "Linux", []string{"1.0"}},
	{"Microsoft.OSTCExtensions", "VMAccessForLinux", "Linux", []string{"1.5"}},
	{"Microsoft.Compute", "CustomScriptExtension", "Windows", []string{"1.10"}},
	{"Microsoft.Compute", "VMAccessAgent", "Windows", []string{"2.0", "2.4"}},
	{"Acronis.Backup", "AcronisBackup", "Windows", []string{"1.0.33", "1.0.51"}},
	{"Acronis.Backup", "AcronisBackupLinux", "Linux", []string{"1.0.33"}},
}

func (x extension) path(below ...string) []string {
	return append([]string{"Publishers", x.publisher, "ArtifactTypes", "VMExtension", "Types", x.name}, below...)
}

func extensionTypes(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	out := []entry{}
	for _, x := range extensions {
		if strings.EqualFold(x.publisher, path["publisher"]) {
			out = append(out, at(path, x.path()...))
		}
	}
	return out, known(path["publisher"])
}

func extensionOf(path map[string]string) (extension, error) {
	for _, x := range extensions {
		if strings.EqualFold(x.publisher, path["publisher"]) && strings.EqualFold(x.name, path["type"]) {
			return x, nil
		}
	}
	return extension{}, arm.Errorf(http.StatusNotFound, "NotFound", "Artifact: VMExtension was not found: publisher '%s', type '%s'.", clip(path["publisher"]), clip(path["type"]))
}

func extensionVersions(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	x, err := extensionOf(path)
	if err != nil {
		return nil, err
	}
	out := []entry{}
	for _, v := range x.versions {
		out = append(out, at(path, x.path("Versions", v)...))
	}
	return out, nil
}

func extensionVersion(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	x, err := extensionOf(path)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(x.versions, path["version"]) {
		return nil, arm.Errorf(http.StatusNotFound, "NotFound", "Artifact: VMExtension was not found: type '%s' has no version '%s'.", x.name, clip(path["version"]))
	}
	e := at(path, x.path("Versions", path["version"])...)
	e.Properties = map[string]any{"operatingSystem": x.os, "computeRole": "IaaS", "vmScaleSetEnabled": false, "supportsMultipleExtensions": false, "rollbackSupported": false}
	return e, nil
}

func (p *Provider) listSizes(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error) {
	return p.SizeList(), nil
}

// SizeList is the answer to who asks for the sizes.
func (p *Provider) SizeList() map[string]any {
	list := []map[string]any{}
	for _, s := range sizes {
		list = append(list, map[string]any{
			"name": s.Name, "numberOfCores": s.CPUs, "memoryInMB": s.MemoryMB, "osDiskSizeInMB": s.OSDiskMB, "resourceDiskSizeInMB": s.TempMB, "maxDataDiskCount": s.DataDisks,
		})
	}
	return map[string]any{"value": list}
}

// skus is resourceSkus' list of the sizes, in the location that a filter names, or in all.
func (p *Provider) skus(_ context.Context, _ *rp.Tx, _, query map[string]string, _ []byte) (any, error) {
	locations := p.cfg.Locations
	if f := query["$filter"]; f != "" {
		name, ok := strings.CutPrefix(strings.TrimSpace(f), "location eq '")
		name, quoted := strings.CutSuffix(name, "'")
		if !ok || !quoted {
			return nil, invalid("$filter", "The value '%s' of '$filter' is invalid: location eq 'NAME' is what can be asked for.", clip(f))
		}
		name = strings.ToLower(strings.ReplaceAll(name, " ", ""))
		if locations = nil; slices.Contains(p.cfg.Locations, name) {
			locations = []string{name}
		}
	}
	list := []map[string]any{}
	for _, l := range locations {
		for _, s := range sizes {
			list = append(list, s.sku(l))
		}
	}
	return map[string]any{"value": list}, nil
}

func (s Size) sku(location string) map[string]any {
	tier, size, _ := strings.Cut(s.Name, "_")
	capability := func(name, value string) map[string]string { return map[string]string{"name": name, "value": value} }
	premium := strings.Contains(strings.ToLower(size), "s")
	generations := "V1"
	if premium {
		generations = "V1,V2"
	}
	return map[string]any{
		"resourceType": "virtualMachines", "name": s.Name, "tier": tier, "size": size, "family": s.Family, "locations": []string{location},
		"locationInfo": []any{map[string]any{"location": location, "zones": []string{"1", "2", "3"}, "zoneDetails": []any{}}}, "restrictions": []any{},
		"capabilities": []any{
			capability("vCPUs", strconv.Itoa(s.CPUs)), capability("vCPUsAvailable", strconv.Itoa(s.CPUs)), capability("MemoryGB", strconv.FormatFloat(float64(s.MemoryMB)/1024, 'f', -1, 64)),
			capability("OSVhdSizeMB", strconv.Itoa(s.OSDiskMB)), capability("MaxResourceVolumeMB", strconv.Itoa(s.TempMB)), capability("MaxDataDiskCount", strconv.Itoa(s.DataDisks)),
			capability("PremiumIO", title(premium)), capability("HyperVGenerations", generations), capability("CpuArchitectureType", "x64"),
			capability("AcceleratedNetworkingEnabled", "False"), capability("EncryptionAtHostSupported", "False"), capability("MaxNetworkInterfaces", "1"), capability("GPUs", "0"),
		},
	}
}

func title(b bool) string {
	if b {
		return "True"
	}
	return "False"
}
