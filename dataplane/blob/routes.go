package blob

import (
	"net/http"
	"strings"
)

// Levels of resources, as srt of an account SAS names them.
const (
	levelService   = 's'
	levelContainer = 'c'
	levelObject    = 'o'
)

// operation is one operation of the API with what permits it ("Permissions for calling data operations",
// "Create an account SAS", "Create a service SAS"). No permission of a kind, no way in by that kind.
type operation struct {
	name  string
	level byte
	// sas are the permission letters any of which admits; sasCreate admit when the blob does not exist.
	sas, sasCreate string
	// delegable: service and user delegation SAS may permit it.
	delegable bool
	// roles are the actions any of which admits, under Microsoft.Storage/storageAccounts/blobServices/.
	// Those under containers/blobs/ are data actions. rolesCreate admit when the blob does not exist.
	roles, rolesCreate []string
	// anonymous is the public access level of a container that admits anyone: "blob", "container", "" never.
	anonymous string
	// sub is the suboperation by which conditions of roles know it; tags: x-ms-tags may come with it.
	sub  string
	tags bool
	// past: it can be asked of a snapshot or a version; parts: its requests are authorized one by one.
	past, parts bool
	run         func(*request) error
}

const (
	blobsRead   = "containers/blobs/read"
	blobsWrite  = "containers/blobs/write"
	blobsAdd    = "containers/blobs/add/action"
	blobsDelete = "containers/blobs/delete"
	tagsRead    = "containers/blobs/tags/read"
	tagsWrite   = "containers/blobs/tags/write"
	blobsFind   = "containers/blobs/filter/action"
	deletePast  = "containers/blobs/deleteBlobVersion/action"
	immutably   = "containers/blobs/immutableStorage/runAsSuperUser/action"
)

// operations by level, method, restype and comp. "put" and "copy" stand for PUT of a blob by its headers.
var operations = map[string]*operation{
	"s GET service/properties":         {name: "Get Blob Service Properties", level: levelService, sas: "r", roles: []string{"read"}, run: (*request).getServiceProperties},
	"s GET service/stats":              {name: "Get Blob Service Stats", level: levelService, sas: "r", roles: []string{"read"}, run: (*request).getServiceStats},
	"s POST service/userdelegationkey": {name: "Get User Delegation Key", level: levelService, roles: []string{"generateUserDelegationKey/action"}, run: (*request).getDelegationKey},
	"s PUT service/properties":         {name: "Set Blob Service Properties", level: levelService, sas: "w", roles: []string{"write"}, run: (*request).setServiceProperties},
	"s GET /blobs":                     {name: "Find Blobs by Tags", level: levelService, sas: "f", roles: []string{blobsFind}, run: (*request).findBlobs},
	"s POST /batch":                    {name: "Blob Batch", level: levelService, parts: true, run: (*request).batch},
	"s GET /list":                      {name: "List Containers", level: levelService, sas: "l", roles: []string{"containers/read"}, run: (*request).listContainers},
	"s GET account/properties":         {name: "Get Account Information", level: levelService, sas: "racwdl", roles: []string{"getInfo/action", "read"}, run: (*request).getAccountInformation},
	"c GET account/properties":         {name: "Get Account Information", level: levelContainer, sas: "racwdl", roles: []string{"getInfo/action", "read"}, run: (*request).getAccountInformation},
	"o GET account/properties":         {name: "Get Account Information", level: levelObject, sas: "racwdl", roles: []string{"getInfo/action", "read"}, run: (*request).getAccountInformation},

	"c PUT container/":         {name: "Create Container", level: levelContainer, sas: "cw", roles: []string{"containers/write"}, run: (*request).createContainer},
	"c GET container/":         {name: "Get Container Properties", level: levelContainer, sas: "r", roles: []string{"containers/read"}, anonymous: "container", run: (*request).getContainer},
	"c GET container/metadata": {name: "Get Container Metadata", level: levelContainer, sas: "r", roles: []string{"containers/read"}, anonymous: "container", run: (*request).getContainer},
	"c PUT container/metadata": {name: "Set Container Metadata", level: levelContainer, sas: "w", roles: []string{"containers/write"}, run: (*request).setContainerMetadata},
	"c GET container/acl":      {name: "Get Container ACL", level: levelContainer, roles: []string{"containers/getAcl/action"}, run: (*request).getContainerACL},
	"c PUT container/acl":      {name: "Set Container ACL", level: levelContainer, roles: []string{"containers/setAcl/action"}, run: (*request).setContainerACL},
	"c DELETE container/":      {name: "Delete Container", level: levelContainer, sas: "d", roles: []string{"containers/delete"}, run: (*request).deleteContainer},
	"c GET container/list":     {name: "List Blobs", level: levelContainer, sas: "l", delegable: true, roles: []string{blobsRead}, anonymous: "container", sub: "Blob.List", run: (*request).listBlobs},

	"c GET container/blobs":    {name: "Find Blobs by Tags in Container", level: levelContainer, sas: "f", delegable: true, roles: []string{blobsFind}, run: (*request).findBlobs},
	"c POST container/batch":   {name: "Blob Batch", level: levelContainer, parts: true, run: (*request).batch},
	"c PUT container/undelete": {name: "Restore Container", level: levelContainer, sas: "w", roles: []string{"containers/write"}, run: (*request).restore},
	"c PUT container/lease":    {name: "Lease Container", level: levelContainer, sas: "wd", roles: []string{"containers/write"}, run: (*request).leaseContainer},

	"o put":             {name: "Put Blob", level: levelObject, sas: "w", sasCreate: "c", delegable: true, roles: []string{blobsWrite}, rolesCreate: []string{blobsAdd}, tags: true, run: (*request).putBlob},
	"o copy":            {name: "Copy Blob", level: levelObject, sas: "w", sasCreate: "c", delegable: true, roles: []string{blobsWrite}, rolesCreate: []string{blobsAdd}, tags: true, run: (*request).copyBlob},
	"o GET /":           {name: "Get Blob", level: levelObject, sas: "r", delegable: true, roles: []string{blobsRead}, anonymous: "blob", past: true, run: (*request).getBlob},
	"o HEAD /":          {name: "Get Blob Properties", level: levelObject, sas: "r", delegable: true, roles: []string{blobsRead}, anonymous: "blob", past: true, run: (*request).headBlob},
	"o DELETE /":        {name: "Delete Blob", level: levelObject, sas: "d", delegable: true, roles: []string{blobsDelete}, past: true, run: (*request).deleteBlob},
	"o GET /metadata":   {name: "Get Blob Metadata", level: levelObject, sas: "r", delegable: true, roles: []string{blobsRead}, anonymous: "blob", past: true, run: (*request).getBlobMetadata},
	"o PUT /metadata":   {name: "Set Blob Metadata", level: levelObject, sas: "w", delegable: true, roles: []string{blobsWrite}, run: (*request).setBlobMetadata},
	"o PUT /properties": {name: "Set Blob Properties", level: levelObject, sas: "w", delegable: true, roles: []string{blobsWrite}, run: (*request).setBlobProperties},
	"o PUT /tier":       {name: "Set Blob Tier", level: levelObject, sas: "w", delegable: true, roles: []string{blobsWrite}, sub: "Blob.Write.Tier", past: true, run: (*request).setBlobTier},
	"o PUT /block":      {name: "Put Block", level: levelObject, sas: "w", sasCreate: "c", delegable: true, roles: []string{blobsWrite}, rolesCreate: []string{blobsAdd}, run: (*request).putBlock},
	"o PUT /blocklist":  {name: "Put Block List", level: levelObject, sas: "w", sasCreate: "c", delegable: true, roles: []string{blobsWrite}, rolesCreate: []string{blobsAdd}, tags: true, run: (*request).putBlockList},
	"o GET /blocklist":  {name: "Get Block List", level: levelObject, sas: "r", delegable: true, roles: []string{blobsRead}, anonymous: "blob", past: true, run: (*request).getBlockList},
	"o GET /tags":       {name: "Get Blob Tags", level: levelObject, sas: "t", delegable: true, roles: []string{tagsRead}, past: true, run: (*request).getBlobTags},
	"o PUT /tags":       {name: "Set Blob Tags", level: levelObject, sas: "t", delegable: true, roles: []string{tagsWrite}, past: true, run: (*request).setBlobTags},
	"o DELETE version":  {name: "Delete Blob Version", level: levelObject, sas: "x", delegable: true, roles: []string{deletePast}, past: true, run: (*request).deleteBlob},
	"o PUT /lease":      {name: "Lease Blob", level: levelObject, sas: "wd", delegable: true, roles: []string{blobsWrite}, run: (*request).leaseBlob},
	"o PUT /snapshot":   {name: "Snapshot Blob", level: levelObject, sas: "cw", delegable: true, roles: []string{blobsWrite, blobsAdd}, run: (*request).makeSnapshot},
	"o PUT /undelete":   {name: "Undelete Blob", level: levelObject, sas: "w", delegable: true, roles: []string{blobsWrite}, run: (*request).undeleteBlob},
	"o PUT /page":       {name: "Put Page", level: levelObject, sas: "w", delegable: true, roles: []string{blobsWrite}, run: (*request).putPage},
	"o GET /pagelist":   {name: "Get Page Ranges", level: levelObject, sas: "r", delegable: true, roles: []string{blobsRead}, anonymous: "blob", past: true, run: (*request).getPageRanges},
	"o PUT /copy":       {name: "Abort Copy Blob", level: levelObject, sas: "w", delegable: true, roles: []string{blobsWrite}, run: (*request).abortCopyBlob},
	"o PUT /seal":       {name: "Append Blob Seal", level: levelObject, sas: "w", delegable: true, roles: []string{blobsWrite}, run: (*request).sealAppendBlob},
	"o PUT /legalhold":  {name: "Set Blob Legal Hold", level: levelObject, sas: "i", delegable: true, roles: []string{immutably}, past: true, run: (*request).setLegalHold},

	"o PUT /immutabilityPolicies":    {name: "Set Blob Immutability Policy", level: levelObject, sas: "i", delegable: true, roles: []string{immutably}, past: true, run: (*request).setImmutability},
	"o DELETE /immutabilityPolicies": {name: "Delete Blob Immutability Policy", level: levelObject, sas: "i", delegable: true, roles: []string{immutably}, past: true, run: (*request).deleteImmutability},

	"o PUT /appendblock": {name: "Append Block", level: levelObject, sas: "aw", delegable: true, roles: []string{blobsWrite, blobsAdd}, run: (*request).appendBlock},
}

// readSource is what a copy needs of the blob that it copies.
var readSource = &operation{name: "Copy Blob (source)", level: levelObject, sas: "r", delegable: true, roles: []string{blobsRead}, anonymous: "blob"}

// writeTags is what x-ms-tags needs besides the write that it comes with.
var writeTags = &operation{name: "Set Blob Tags", level: levelObject, sas: "t", delegable: true, roles: []string{tagsWrite}, tags: true}

// listTags is what a listing with index tags needs besides.
var listTags = &operation{name: "List Blobs with tags", level: levelContainer, sas: "t", delegable: true, roles: []string{tagsRead}}

// unbuilt are the values of comp that Azure knows and this service does not serve.
var unbuilt = map[string]string{
	"query": "Query Blob Contents", "expiry": "Set Blob Expiry", "incrementalcopy": "Incremental Copy Blob", "rename": "hierarchical namespaces",
}

// findOperation returns the operation that the request asks for, or nil.
func findOperation(q *request) *operation {
	level := "s"
	switch {
	case q.blob != "":
		level = "o"
	case q.container != "":
		level = "c"
	}
	restype, comp := q.Query.Get("restype"), q.Query.Get("comp")
	method := q.R.Method
	if level == "o" && method == http.MethodPut && restype == "" && comp == "" {
		if q.R.Header.Get("X-Ms-Copy-Source") != "" && q.R.Header.Get("X-Ms-Blob-Type") == "" {
			return operations["o copy"]
		}
		return operations["o put"]
	}
	if level == "o" && method == http.MethodDelete && comp == "" && q.Query.Get("versionid") != "" {
		return operations["o DELETE version"]
	}
	if op := operations[level+" "+method+" "+restype+"/"+comp]; op != nil {
		return op
	}
	if method == http.MethodHead { // HEAD answers what GET answers, without a body
		return operations[level+" GET "+restype+"/"+comp]
	}
	return nil
}

// refuseUnsupported refuses what would change the meaning of a request if it were ignored.
func (q *request) refuseUnsupported() error {
	for _, p := range []string{"snapshot", "versionid"} {
		if v := q.Query.Get(p); v != "" && !q.op.past {
			return errInvalidQuery(p, v).Because("%s is not an operation on snapshots and versions", q.op.name)
		}
	}
	for name, values := range q.R.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ms-") && len(values) > 0 && values[0] != "" {
			if what := q.unbuiltHeader(lower); what != "" {
				return errNotImplemented("header %s: %s", lower, what)
			}
		}
	}
	return nil
}

func (q *request) unbuiltHeader(name string) string {
	switch {
	case name == "x-ms-encryption-scope":
		return "encryption scopes"
	case name == "x-ms-tags" && !q.op.tags:
		return "tags come with Put Blob, Put Block List and Copy Blob"
	case strings.HasPrefix(name, "x-ms-structured-"):
		return "structured messages"
	}
	return ""
}
