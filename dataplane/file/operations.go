package file

import (
	"net/http"
	"strings"

	"vauban.dev/internal/storagehttp"
)

// operation is one operation of the API with what permits it ("Create an account SAS", "Create a service SAS", "Permissions
// for calling data operations"). No permission of a kind, no way in by that kind.
type operation struct {
	name  string
	level byte   // s, c, o: srt of an account SAS
	sas   string // letters any of which admits
	// delegable: a service SAS may permit it; directory: one for a file may not.
	delegable, directory bool
	// roles are the actions any of which admits, below …/fileServices/; "a&b" asks for both.
	roles []string
	past  bool // it can be asked of a snapshot
	run   func(*request) error
}

const (
	filesRead   = "fileshares/files/read&readFileBackupSemantics/action"
	filesWrite  = "fileshares/files/write&writeFileBackupSemantics/action"
	filesDelete = "fileshares/files/delete&writeFileBackupSemantics/action"
	filesPermit = "fileshares/files/modifypermissions/action&writeFileBackupSemantics/action"
)

// operations by level (s service, c share, d directory, f file), method, restype and comp.
var operations = map[string]*operation{
	"s GET service/properties": {name: "Get File Service Properties", level: 's', sas: "r", roles: []string{"read"}, run: func(q *request) error { return q.GetProperties(q.s.store) }},
	"s PUT service/properties": {name: "Set File Service Properties", level: 's', sas: "w", roles: []string{"write"}, run: func(q *request) error { return q.SetProperties(q.s.store) }},
	"s GET /list":              {name: "List Shares", level: 's', sas: "l", roles: []string{"shares/read"}, run: (*request).listShares},

	"c PUT share/":               {name: "Create Share", level: 'c', sas: "cw", roles: []string{"shares/write"}, run: (*request).createShare},
	"c GET share/":               {name: "Get Share Properties", level: 'c', sas: "r", roles: []string{"shares/read"}, past: true, run: (*request).getShare},
	"c DELETE share/":            {name: "Delete Share", level: 'c', sas: "d", roles: []string{"shares/delete"}, past: true, run: (*request).deleteShare},
	"c PUT share/properties":     {name: "Set Share Properties", level: 'c', sas: "w", roles: []string{"shares/write"}, run: (*request).setShare},
	"c GET share/metadata":       {name: "Get Share Metadata", level: 'c', sas: "r", roles: []string{"shares/read"}, past: true, run: (*request).getShare},
	"c PUT share/metadata":       {name: "Set Share Metadata", level: 'c', sas: "w", roles: []string{"shares/write"}, run: (*request).setShareMetadata},
	"c GET share/acl":            {name: "Get Share ACL", level: 'c', run: (*request).getShareACL},
	"c PUT share/acl":            {name: "Set Share ACL", level: 'c', run: (*request).setShareACL},
	"c GET share/stats":          {name: "Get Share Stats", level: 'c', sas: "r", roles: []string{"shares/read"}, run: (*request).getShareStats},
	"c PUT share/snapshot":       {name: "Snapshot Share", level: 'c', sas: "cw", roles: []string{"shares/write"}, run: (*request).snapshotShare},
	"c PUT share/undelete":       {name: "Restore Share", level: 'c', sas: "w", roles: []string{"shares/write"}, run: (*request).restoreShare},
	"c PUT share/lease":          {name: "Lease Share", level: 'c', sas: "wd", roles: []string{"shares/write"}, run: (*request).leaseShare},
	"c PUT share/filepermission": {name: "Create Permission", level: 'c', sas: "cw", delegable: true, directory: true, roles: []string{filesPermit}, run: (*request).createPermission},
	"c GET share/filepermission": {name: "Get Permission", level: 'c', sas: "r", delegable: true, directory: true, roles: []string{filesRead}, past: true, run: (*request).getPermission},

	"d GET directory/list":       {name: "List Directories and Files", level: 'c', sas: "l", delegable: true, directory: true, roles: []string{filesRead}, past: true, run: (*request).listEntries},
	"d PUT directory/":           {name: "Create Directory", level: 'o', sas: "cw", delegable: true, directory: true, roles: []string{filesWrite}, run: (*request).createDirectory},
	"d GET directory/":           {name: "Get Directory Properties", level: 'o', sas: "r", delegable: true, directory: true, roles: []string{filesRead}, past: true, run: (*request).getDirectory},
	"d GET directory/metadata":   {name: "Get Directory Metadata", level: 'o', sas: "r", delegable: true, directory: true, roles: []string{filesRead}, past: true, run: (*request).getDirectory},
	"d PUT directory/metadata":   {name: "Set Directory Metadata", level: 'o', sas: "w", delegable: true, directory: true, roles: []string{filesWrite}, run: (*request).setDirectoryMetadata},
	"d PUT directory/properties": {name: "Set Directory Properties", level: 'o', sas: "w", delegable: true, directory: true, roles: []string{filesWrite}, run: (*request).setDirectory},
	"d DELETE directory/":        {name: "Delete Directory", level: 'o', sas: "d", delegable: true, directory: true, roles: []string{filesDelete}, run: (*request).deleteDirectory},
	"d PUT directory/rename":     {name: "Rename Directory", level: 'o', sas: "w", delegable: true, directory: true, roles: []string{filesWrite}, run: (*request).renameDirectory},

	"f PUT /":           {name: "Create File", level: 'o', sas: "cw", delegable: true, roles: []string{filesWrite}, run: (*request).createFile},
	"f copy":            {name: "Copy File", level: 'o', sas: "cw", delegable: true, roles: []string{filesWrite}, run: (*request).copyFile},
	"f PUT /copy":       {name: "Abort Copy File", level: 'o', sas: "w", delegable: true, roles: []string{filesWrite}, run: (*request).abortCopy},
	"f GET /":           {name: "Get File", level: 'o', sas: "r", delegable: true, roles: []string{filesRead}, past: true, run: (*request).getFile},
	"f HEAD /":          {name: "Get File Properties", level: 'o', sas: "r", delegable: true, roles: []string{filesRead}, past: true, run: (*request).getFileProperties},
	"f DELETE /":        {name: "Delete File", level: 'o', sas: "d", delegable: true, roles: []string{filesDelete}, run: (*request).deleteFile},
	"f PUT /properties": {name: "Set File Properties", level: 'o', sas: "w", delegable: true, roles: []string{filesWrite}, run: (*request).setFile},
	"f GET /metadata":   {name: "Get File Metadata", level: 'o', sas: "r", delegable: true, roles: []string{filesRead}, past: true, run: (*request).getFileProperties},
	"f PUT /metadata":   {name: "Set File Metadata", level: 'o', sas: "w", delegable: true, roles: []string{filesWrite}, run: (*request).setFileMetadata},
	"f PUT /range":      {name: "Put Range", level: 'o', sas: "w", delegable: true, roles: []string{filesWrite}, run: (*request).putRange},
	"f GET /rangelist":  {name: "List Ranges", level: 'o', sas: "r", delegable: true, roles: []string{filesRead}, past: true, run: (*request).listRanges},
	"f PUT /lease":      {name: "Lease File", level: 'o', sas: "wd", delegable: true, roles: []string{filesWrite}, run: (*request).leaseFile},
	"f PUT /rename":     {name: "Rename File", level: 'o', sas: "w", delegable: true, roles: []string{filesWrite}, run: (*request).renameFile},

	"h GET /listhandles":       {name: "List Handles", level: 'o', sas: "l", delegable: true, roles: []string{filesRead}, past: true, run: (*request).listHandles},
	"h PUT /forceclosehandles": {name: "Force Close Handles", level: 'o', sas: "d", delegable: true, roles: []string{filesWrite}, past: true, run: (*request).closeHandles},
}

// unbuilt are operations of Azure's that are not there.
var unbuilt = map[string]string{
	"service/userdelegationkey": "user delegation keys of the file service", "symboliclink/": "symbolic links, which are of NFS", "hardlink/": "hard links, which are of NFS",
}

// operation is the one that the request asks for.
func (q *request) operation() (*operation, error) {
	restype, comp := strings.ToLower(q.Query.Get("restype")), strings.ToLower(q.Query.Get("comp"))
	level := "f"
	switch {
	case q.share == "":
		level = "s"
	case comp == "listhandles" || comp == "forceclosehandles":
		level, restype = "h", ""
	case restype == "directory":
		level = "d"
	case len(q.names) == 0:
		level = "c"
	}
	method := q.R.Method
	if method == http.MethodHead && level != "f" {
		method = http.MethodGet
	}
	key := restype + "/" + comp
	if level == "f" && method == http.MethodPut && key == "/" && q.R.Header.Get("X-Ms-Copy-Source") != "" {
		return operations["f copy"], nil
	}
	if op := operations[level+" "+method+" "+key]; op != nil {
		return op, nil
	}
	switch {
	case unbuilt[key] != "":
		return nil, storagehttp.NotImplemented("%s are not there", unbuilt[key])
	case comp != "":
		return nil, storagehttp.InvalidQuery("comp", comp)
	case restype != "":
		return nil, storagehttp.InvalidQuery("restype", restype)
	}
	return nil, storagehttp.NewError(http.StatusMethodNotAllowed, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb.")
}
