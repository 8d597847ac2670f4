package blob

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"vauban.dev/authz"
	"vauban.dev/origin"
)

const (
	data  = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
	tagOf = "[" + data + "/tags:Project<$key_case_sensitive$>]"
)

// conditional lets alice do what a role says while a condition holds.
func conditional(role, condition string) authz.Authorizer {
	x := new(authz.Index)
	x.Put(authz.Assignment{ID: "/a", PrincipalID: "alice", Definition: role, Scope: acctID, Condition: condition})
	return &authz.Evaluator{Source: x}
}

func read(expression string) string {
	return fmt.Sprintf("(!(ActionMatches{'%s/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (%s)", data, expression)
}

func write(expression string) string {
	return fmt.Sprintf("(!(ActionMatches{'%[1]s/write'}) AND !(ActionMatches{'%[1]s/add/action'})) OR (%[2]s)", data, expression)
}

func TestRoleConditions(t *testing.T) {
	f := newFixture(t)
	f.want(call{method: "PUT", path: "/mine?restype=container", header: []string{"x-ms-meta-class", "open"}}, 201, "")
	f.want(call{method: "PUT", path: "/theirs?restype=container"}, 201, "")
	put := func(path string, header ...string) call {
		return call{method: "PUT", path: path, body: "x", header: append([]string{"x-ms-blob-type", "BlockBlob"}, header...)}
	}
	for _, p := range []string{"/mine/readonly/a", "/mine/b", "/theirs/readonly/a"} {
		f.want(put(p), 201, "")
	}
	f.want(put("/mine/tagged", "x-ms-tags", "Project=Cascade&Owner=a%20b"), 201, "")
	get := func(path string) call { return call{method: "GET", path: path} }
	endpoint, subnet := "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/privateEndpoints/pe", "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
	for _, c := range []struct {
		what, condition string
		call            call
		want            int
	}{
		{"the container", read("@Resource[" + strings.TrimSuffix(data, "/blobs") + ":name] StringEquals 'mine'"), get("/mine/b"), 200},
		{"another container", read("@Resource[" + strings.TrimSuffix(data, "/blobs") + ":name] StringEquals 'mine'"), get("/theirs/readonly/a"), 403},
		{"its metadata", read("@Resource[" + strings.TrimSuffix(data, "/blobs") + "/metadata:Class] StringEquals 'open'"), get("/mine/b"), 200},
		{"the path", read("@Resource[" + data + ":path] StringLike 'readonly/*'"), get("/mine/readonly/a"), 200},
		{"another path", read("@Resource[" + data + ":path] StringLike 'readonly/*'"), get("/mine/b"), 403},
		{"a path in other spelling", read("@Resource[" + data + ":path] StringLike 'readonly/*'"), get("/mine/readonly/%2e%2e/b"), 404},
		{"HEAD too", read("@Resource[" + data + ":path] StringLike 'readonly/*'"), call{method: "HEAD", path: "/mine/b"}, 403},
		{"a list, which is another suboperation", read("@Resource[" + data + ":path] StringLike 'readonly/*'"), get("/mine?restype=container&comp=list"), 200},
		{"a list with the prefix", fmt.Sprintf("!(ActionMatches{'%[1]s/read'} AND SubOperationMatches{'Blob.List'}) OR @Request[%[1]s:prefix] StringStartsWith 'readonly/'", data), get("/mine?restype=container&comp=list&prefix=readonly/"), 200},
		{"a list without", fmt.Sprintf("!(ActionMatches{'%[1]s/read'} AND SubOperationMatches{'Blob.List'}) OR @Request[%[1]s:prefix] StringStartsWith 'readonly/'", data), get("/mine?restype=container&comp=list"), 403},
		{"a tag", read("@Resource" + tagOf + " StringEquals 'Cascade'"), get("/mine/tagged"), 200},
		{"no tag", read("@Resource" + tagOf + " StringEquals 'Cascade'"), get("/mine/b"), 403},
		{"the negation of a tag that is not there", read("@Resource" + tagOf + " StringNotEquals 'Cascade'"), get("/mine/b"), 403},
		{"a tag's key in other case", read("@Resource[" + data + "/tags:project<$key_case_sensitive$>] StringEquals 'Cascade'"), get("/mine/tagged"), 403},
		{"the keys", read("@Resource[" + data + "/tags&$keys$&] ForAllOfAnyValues:StringEquals {'Project', 'Owner'}"), get("/mine/tagged"), 200},
		{"no keys", read("@Resource[" + data + "/tags&$keys$&] ForAllOfAnyValues:StringEquals {'Project', 'Owner'}"), get("/mine/b"), 403},
		{"the account", read("@Resource[Microsoft.Storage/storageAccounts:name] StringEquals 'labstore' AND @Resource[Microsoft.Storage/storageAccounts:isHnsEnabled] BoolEquals false"), get("/mine/b"), 200},
		{"the current version", read("@Resource[" + data + ":isCurrentVersion] BoolEquals true"), get("/mine/b"), 200},
		{"no private link", read("@Environment[isPrivateLink] BoolEquals true"), get("/mine/b"), 403},
		{"before its time", read("@Environment[UtcNow] DateTimeGreaterThan '2027-01-01T00:00:00.0Z'"), get("/mine/b"), 403},
		{"in its time", read("@Environment[UtcNow] DateTimeLessThan '2027-01-01T00:00:00.0Z'"), get("/mine/b"), 200},
		{"a snapshot", read("NOT Exists @Request[" + data + ":snapshot]"), get("/mine/b?snapshot=2026-11-22T10:00:00.0Z"), 403},
		{"a write with the tag", write("@Request" + tagOf + " ForAllOfAnyValues:StringEquals {'Cascade', 'Baker'}"), put("/mine/new", "x-ms-tags", "Project=Baker"), 201},
		{"a write with another", write("@Request" + tagOf + " ForAllOfAnyValues:StringEquals {'Cascade', 'Baker'}"), put("/mine/new", "x-ms-tags", "Project=Skagit"), 403},
		{"a write without", write("@Request" + tagOf + " ForAllOfAnyValues:StringEquals {'Cascade', 'Baker'}"), put("/mine/new"), 403},
		{"a write without, where only tags are judged", fmt.Sprintf("!(ActionMatches{'%[1]s/write'} AND SubOperationMatches{'Blob.Write.WithTagHeaders'}) OR @Request%[2]s StringEquals 'Cascade'", data, tagOf), put("/mine/new"), 201},
		{"a tier", fmt.Sprintf("!(ActionMatches{'%[1]s/write'} AND SubOperationMatches{'Blob.Write.Tier'}) OR @Resource[%[1]s:path] StringEquals 'x'", data),
			call{method: "PUT", path: "/mine/b?comp=tier", header: []string{"x-ms-access-tier", "Cool"}}, 403},
		{"a copy of what may not be read", read("@Resource[" + data + ":path] StringEquals 'b'"), call{method: "PUT", path: "/mine/copy", header: []string{"x-ms-copy-source", "http://" + acct + ".blob.core.windows.net/mine/readonly/a"}}, 403},
		{"a copy of what may", read("@Resource[" + data + ":path] StringEquals 'b'"), call{method: "PUT", path: "/mine/copy", header: []string{"x-ms-copy-source", "http://" + acct + ".blob.core.windows.net/mine/b"}}, 202},
		{"a condition that cannot be read", "nonsense", get("/mine/b"), 403},
	} {
		f.roles = conditional(authz.StorageBlobDataOwner, c.condition)
		c.call.auth = "token"
		if w := f.do(c.call); w.Code != c.want {
			t.Errorf("%s: %d %s, want %d", c.what, w.Code, w.Body, c.want)
		}
	}
	f.roles = conditional(authz.StorageBlobDataOwner, read(fmt.Sprintf("@Environment[Microsoft.Network/privateEndpoints] StringEqualsIgnoreCase '%s' AND @Environment[isPrivateLink] BoolEquals true", strings.ToUpper(endpoint))))
	byEndpoint := call{method: "GET", path: "/mine/b", auth: "token"}
	internet := f.origin
	f.origin = origin.Origin{Kind: origin.PrivateEndpoint, Source: netip.MustParseAddr("10.0.0.4"), Endpoint: endpoint, Target: acctID, GroupID: "blob", Subnet: subnet}
	f.account.Firewall.ResourceID = acctID
	if w := f.do(byEndpoint); w.Code != 200 {
		t.Errorf("through the endpoint: %d %s", w.Code, w.Body)
	}
	f.origin = internet
	w := f.do(byEndpoint)
	if w.Code != 403 || !strings.Contains(w.Body.String(), "a condition that does not hold: @Environment[Microsoft.Network/privateEndpoints]") {
		t.Errorf("past the endpoint: %d %s", w.Code, w.Body)
	}
}

func TestTags(t *testing.T) {
	f := newFixture(t)
	f.want(call{method: "PUT", path: "/con?restype=container"}, 201, "")
	f.want(call{method: "PUT", path: "/con/b", body: "x", header: []string{"x-ms-blob-type", "BlockBlob", "x-ms-tags", "Project=Cascade&Path=a%2Fb+c"}}, 201, "")
	before := f.do(call{method: "HEAD", path: "/con/b"})
	if before.Header().Get("x-ms-tag-count") != "2" {
		t.Error(before.Header())
	}
	tags := call{method: "GET", path: "/con/b?comp=tags"}
	if w := f.do(tags); w.Code != 200 || !strings.HasSuffix(w.Body.String(), "<Tags><TagSet><Tag><Key>Path</Key><Value>a/b c</Value></Tag><Tag><Key>Project</Key><Value>Cascade</Value></Tag></TagSet></Tags>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	set := func(body string) call { return call{method: "PUT", path: "/con/b?comp=tags", body: body} }
	if w := f.do(set(`<?xml version="1.0"?><Tags><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tags>`)); w.Code != 204 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	after := f.do(call{method: "HEAD", path: "/con/b"})
	if after.Header().Get("ETag") != before.Header().Get("ETag") || after.Header().Get("x-ms-tag-count") != "1" {
		t.Errorf("%v, was %v", after.Header(), before.Header())
	}
	if w := f.do(call{method: "PUT", path: "/con/b?comp=metadata", header: []string{"x-ms-meta-a", "b"}}); w.Code != 200 || f.do(call{method: "HEAD", path: "/con/b"}).Header().Get("x-ms-tag-count") != "1" {
		t.Errorf("metadata took the tags: %d", w.Code)
	}
	for body, code := range map[string]string{
		"<Tags><TagSet>": "InvalidXmlDocument",
		"<Tags><TagSet>" + strings.Repeat("<Tag><Key>a</Key><Value/></Tag>", 2) + "</TagSet></Tags>": "InvalidTag",
		"<Tags><TagSet><Tag><Key>a;</Key><Value/></Tag></TagSet></Tags>":                             "InvalidTag",
	} {
		if w := f.do(set(body)); w.Code != 400 || !strings.Contains(w.Body.String(), code) {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if w := f.do(call{method: "GET", path: "/con/none?comp=tags"}); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	// A role that writes blobs and no tags writes none with them.
	f.grants["alice containers/blobs/write"] = true
	tagged := call{method: "PUT", path: "/con/n", body: "x", header: []string{"x-ms-blob-type", "BlockBlob", "x-ms-tags", "a=b"}, auth: "token"}
	if w := f.do(tagged); w.Code != 403 || !strings.Contains(w.Body.String(), "blobs/tags/write") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	f.grants["alice containers/blobs/tags/write"] = true
	if w := f.do(tagged); w.Code != 201 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func FuzzTags(f *testing.F) {
	f.Add("<Tags><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tags>")
	f.Fuzz(func(t *testing.T, body string) {
		tags, err := parseTags(strings.NewReader(body))
		if err == nil && checkTags(tags) != nil {
			t.Fatalf("%q gives %v", body, tags)
		}
	})
}
