package blob

import (
	"encoding/xml"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// listed are the names of a listing, with what each is.
func (f *fixture) listed(path string) []string {
	f.Helper()
	w := f.want(call{method: "GET", path: path}, 200, "")
	var page struct {
		Blobs struct {
			Blob []struct {
				Name             string
				Snapshot         string
				VersionId        string
				IsCurrentVersion bool
				Deleted          bool
			}
		}
	}
	if err := xml.Unmarshal(w.Body.Bytes(), &page); err != nil {
		f.Fatal(err)
	}
	var out []string
	for _, b := range page.Blobs.Blob {
		s := b.Name
		if b.Snapshot != "" {
			s += " snapshot"
		}
		if b.VersionId != "" && !b.IsCurrentVersion {
			s += " version"
		}
		if b.Deleted {
			s += " deleted"
		}
		out = append(out, s)
	}
	return out
}

func (f *fixture) wantList(path string, want ...string) {
	f.Helper()
	if got := f.listed(path); !slices.Equal(got, want) {
		f.Fatalf("%s lists %q, want %q", path, got, want)
	}
}

func (f *fixture) body(path string) string {
	f.Helper()
	return f.want(call{method: "GET", path: path}, 200, "").Body.String()
}

const listAll = "/con1?restype=container&comp=list&include=snapshots,versions,deleted"

func put(path, body string) call { return call{method: "PUT", path: path, body: body, header: block} }

func TestSnapshots(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	for _, content := range []string{"one", noise(100_000)} {
		f.want(put("/con1/b", content), 201, "")
		before := f.want(call{method: "HEAD", path: "/con1/b"}, 200, "").Header().Get("ETag")
		snap := f.want(call{method: "PUT", path: "/con1/b?comp=snapshot", header: []string{"x-ms-meta-a", "1"}}, 201, "").Header().Get("x-ms-snapshot")
		if after := f.want(call{method: "HEAD", path: "/con1/b"}, 200, "").Header().Get("ETag"); after != before {
			t.Errorf("a snapshot changed the ETag from %s to %s", before, after)
		}
		f.want(put("/con1/b", "two"), 201, "")
		at := "/con1/b?snapshot=" + snap
		if got := f.body(at); got != content {
			t.Errorf("the snapshot has %d bytes, want %d", len(got), len(content))
		}
		if m := f.want(call{method: "HEAD", path: at}, 200, "").Header()["x-ms-meta-a"]; !slices.Equal(m, []string{"1"}) {
			t.Errorf("metadata of the snapshot: %v", m)
		}
		f.wantList("/con1?restype=container&comp=list&include=snapshots", "b snapshot", "b")
		f.wantList("/con1?restype=container&comp=list", "b")
		f.want(call{method: "PUT", path: at + "&comp=metadata"}, 400, "InvalidQueryParameterValue")
		f.want(call{method: "DELETE", path: "/con1/b"}, 409, "SnapshotsPresent")
		// A snapshot is promoted by a copy over its blob.
		f.want(call{method: "PUT", path: "/con1/b", header: []string{"x-ms-copy-source", "https://labstore.blob.core.windows.net" + at}}, 202, "")
		if got := f.body("/con1/b"); got != content {
			t.Errorf("the promoted snapshot has %d bytes", len(got))
		}
		f.want(call{method: "DELETE", path: at}, 202, "")
		f.want(call{method: "GET", path: at}, 404, CodeBlobNotFound)
		if got := f.body("/con1/b"); got != content {
			t.Errorf("the blob lost its content with the snapshot: %d bytes", len(got))
		}
		f.want(call{method: "PUT", path: "/con1/b?comp=snapshot"}, 201, "")
		f.want(call{method: "DELETE", path: "/con1/b", header: []string{"x-ms-delete-snapshots", "only"}}, 202, "")
		f.want(call{method: "PUT", path: "/con1/b?comp=snapshot"}, 201, "")
		f.want(call{method: "DELETE", path: "/con1/b", header: []string{"x-ms-delete-snapshots", "include"}}, 202, "")
		f.noDocs(kindBlob, kindHistory, kindParts, kindInline, kindShared)
		if n := f.payloads(); n != 0 {
			t.Errorf("%d files stay", n)
		}
	}
}

func TestVersions(t *testing.T) {
	f := newFixture(t)
	f.keeps.Versioning = true
	f.container("con1")
	one := f.want(put("/con1/b", "one"), 201, "").Header().Get("x-ms-version-id")
	two := f.want(put("/con1/b", "two"), 201, "").Header().Get("x-ms-version-id")
	three := f.want(call{method: "PUT", path: "/con1/b?comp=metadata", header: []string{"x-ms-meta-a", "1"}}, 200, "").Header().Get("x-ms-version-id")
	if one == "" || one >= two || two >= three {
		t.Fatalf("versions %q, %q, %q", one, two, three)
	}
	if f.body("/con1/b?versionid="+one) != "one" || f.body("/con1/b?versionid="+two) != "two" || f.body("/con1/b?versionid="+three) != "two" {
		t.Error("versions have other contents")
	}
	if h := f.want(call{method: "HEAD", path: "/con1/b"}, 200, "").Header(); h.Get("x-ms-is-current-version") != "true" || h.Get("x-ms-version-id") != three {
		t.Errorf("headers of the current version: %v", h)
	}
	if h := f.want(call{method: "HEAD", path: "/con1/b?versionid=" + one}, 200, "").Header(); h.Get("x-ms-is-current-version") != "" {
		t.Errorf("headers of an earlier version: %v", h)
	}
	f.wantList(listAll, "b version", "b version", "b")
	f.want(call{method: "DELETE", path: "/con1/b?versionid=" + three}, 403, "OperationNotAllowedOnRootBlob")
	f.want(call{method: "DELETE", path: "/con1/b"}, 202, "")
	f.want(call{method: "GET", path: "/con1/b"}, 404, CodeBlobNotFound)
	f.wantList(listAll, "b version", "b version", "b version")
	f.want(call{method: "PUT", path: "/con1/b", header: []string{"x-ms-copy-source", "https://labstore.blob.core.windows.net/con1/b?versionid=" + one}}, 202, "")
	if f.body("/con1/b") != "one" {
		t.Error("an earlier version was not restored")
	}
	for _, v := range []string{one, two, three} {
		f.want(call{method: "DELETE", path: "/con1/b?versionid=" + v}, 202, "")
	}
	f.want(call{method: "GET", path: "/con1/b?versionid=" + two}, 404, CodeBlobNotFound)
	if f.body("/con1/b") != "one" {
		t.Error("the blob went with its versions")
	}
	f.keeps.Versioning = false
	f.want(call{method: "DELETE", path: "/con1/b"}, 202, "")
	f.noDocs(kindBlob, kindHistory, kindParts, kindInline, kindShared)
}

// TestVersionOfBlocks: blocks that a new block list keeps are of both versions.
func TestVersionOfBlocks(t *testing.T) {
	f := newFixture(t)
	f.keeps.Versioning = true
	f.container("con1")
	stage := func(id, body string) {
		f.want(call{method: "PUT", path: "/con1/b?comp=block&blockid=" + b64(id), body: body}, 201, "")
	}
	commit := func(ids ...string) string {
		list := "<BlockList>"
		for _, id := range ids {
			list += "<Latest>" + b64(id) + "</Latest>"
		}
		return f.want(call{method: "PUT", path: "/con1/b?comp=blocklist", body: list + "</BlockList>"}, 201, "").Header().Get("x-ms-version-id")
	}
	stage("a", "aaa")
	stage("b", "bbb")
	one := commit("a", "b")
	stage("c", "ccc")
	commit("a", "c")
	if f.body("/con1/b?versionid="+one) != "aaabbb" || f.body("/con1/b") != "aaaccc" {
		t.Errorf("%s and %s", f.body("/con1/b?versionid="+one), f.body("/con1/b"))
	}
	f.want(call{method: "DELETE", path: "/con1/b?versionid=" + one}, 202, "")
	if f.body("/con1/b") != "aaaccc" {
		t.Error("the version that was deleted took a block with it")
	}
	f.keeps.Versioning = false
	f.want(call{method: "DELETE", path: "/con1/b"}, 202, "")
	f.noDocs(kindBlob, kindHistory, kindParts, kindInline, kindShared)
	if n := f.payloads(); n != 0 {
		t.Errorf("%d files stay", n)
	}
}

func TestSoftDelete(t *testing.T) {
	f := newFixture(t)
	f.keeps.DeleteDays = 7
	f.container("con1")
	f.want(put("/con1/b", "one"), 201, "")
	w := f.want(call{method: "DELETE", path: "/con1/b"}, 202, "")
	if w.Header().Get("x-ms-delete-type-permanent") != "false" {
		t.Errorf("headers %v", w.Header())
	}
	f.want(call{method: "GET", path: "/con1/b"}, 404, CodeBlobNotFound)
	f.wantList("/con1?restype=container&comp=list")
	f.wantList(listAll, "b deleted")
	f.want(call{method: "PUT", path: "/con1/b?comp=undelete"}, 200, "")
	if f.body("/con1/b") != "one" {
		t.Error("the undeleted blob has another content")
	}
	f.want(put("/con1/b", "two"), 201, "") // what is overwritten is a deleted snapshot
	f.wantList(listAll, "b snapshot deleted", "b")
	f.want(call{method: "PUT", path: "/con1/b?comp=undelete"}, 200, "")
	f.wantList(listAll, "b snapshot", "b")
	f.want(call{method: "DELETE", path: "/con1/b", header: []string{"x-ms-delete-snapshots", "include"}}, 202, "")
	f.want(put("/con1/b", "three"), 201, "")
	f.want(call{method: "DELETE", path: "/con1/b"}, 202, "")
	f.wantList("/con1?restype=container&comp=list&include=snapshots&showonly=deleted", "b deleted", "b snapshot deleted", "b snapshot deleted")
	f.clock.Move(8 * 24 * time.Hour)
	f.want(call{method: "PUT", path: "/con1/b?comp=undelete"}, 404, CodeBlobNotFound)
	f.wantList(listAll)
	if err := f.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	f.noDocs(kindBlob, kindHistory, kindInline, kindShared, kindTagged)
	f.want(call{method: "PUT", path: "/con1/none?comp=undelete"}, 404, CodeBlobNotFound)
}

func TestContainerSoftDelete(t *testing.T) {
	f := newFixture(t)
	f.keeps.ContainerDays = 3
	f.container("con1")
	f.put("con1", "b", "one")
	f.want(call{method: "DELETE", path: "/con1?restype=container"}, 202, "")
	f.want(call{method: "GET", path: "/con1/b"}, 404, CodeContainerNotFound)
	list := f.body("/?comp=list&include=deleted")
	_, rest, _ := strings.Cut(list, "<Version>")
	version, _, ok := strings.Cut(rest, "</Version>")
	if !ok || !strings.Contains(list, "<RemainingRetentionDays>2</RemainingRetentionDays>") {
		t.Fatalf("no deleted container in %s", list)
	}
	restore := func(version string) call {
		return call{method: "PUT", path: "/con1?restype=container&comp=undelete", header: []string{"x-ms-deleted-container-name", "con1", "x-ms-deleted-container-version", version}}
	}
	f.want(restore("nope"), 404, CodeContainerNotFound)
	f.container("con1")
	f.want(restore(version), 409, CodeContainerAlreadyExists)
	f.keeps.ContainerDays = 0
	f.want(call{method: "DELETE", path: "/con1?restype=container"}, 202, "")
	f.want(restore(version), 201, "")
	if f.body("/con1/b") != "one" {
		t.Error("the restored container has lost its blob")
	}
	f.keeps.ContainerDays = 3
	f.want(call{method: "DELETE", path: "/con1?restype=container"}, 202, "")
	f.clock.Move(4 * 24 * time.Hour)
	if err := f.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	f.noDocs(kindContainer, kindDeleted, kindTrash, kindBlob, kindInline)
}

func TestLeases(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "b", "one")
	const a, b = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
	for _, place := range []string{"/con1/b?comp=lease", "/con1?restype=container&comp=lease"} {
		lease := func(status int, code string, header ...string) http.Header {
			f.Helper()
			return f.want(call{method: "PUT", path: place, header: header}, status, code).Header()
		}
		acquire := []string{"x-ms-lease-action", "acquire", "x-ms-lease-duration", "15", "x-ms-proposed-lease-id"}
		lease(400, "InvalidHeaderValue", "x-ms-lease-action", "acquire", "x-ms-lease-duration", "5")
		lease(400, "MissingRequiredHeader", "x-ms-lease-action", "acquire")
		lease(400, "InvalidHeaderValue", "x-ms-lease-action", "take")
		lease(409, "LeaseNotPresentWithLeaseOperation", "x-ms-lease-action", "renew", "x-ms-lease-id", a)
		if h := lease(201, "", with(acquire, a)...); h.Get("x-ms-lease-id") != a {
			t.Errorf("lease id in %v", h)
		}
		lease(201, "", with(acquire, a)...) // again
		lease(409, "LeaseAlreadyPresent", with(acquire, b)...)
		lease(409, "LeaseIdMismatchWithLeaseOperation", "x-ms-lease-action", "renew", "x-ms-lease-id", b)
		lease(200, "", "x-ms-lease-action", "change", "x-ms-lease-id", a, "x-ms-proposed-lease-id", b)
		lease(200, "", "x-ms-lease-action", "renew", "x-ms-lease-id", b)
		f.clock.Move(16 * time.Second)
		lease(200, "", "x-ms-lease-action", "renew", "x-ms-lease-id", b) // expired, and nobody else has it
		if h := lease(202, "", "x-ms-lease-action", "break", "x-ms-lease-break-period", "5"); h.Get("x-ms-lease-time") != "5" {
			t.Errorf("lease time in %v", h)
		}
		lease(409, "LeaseIsBreakingAndCannotBeAcquired", with(acquire, b)...)
		lease(409, "LeaseIsBreakingAndCannotBeChanged", "x-ms-lease-action", "change", "x-ms-lease-id", b, "x-ms-proposed-lease-id", a)
		f.clock.Move(6 * time.Second)
		lease(409, "LeaseIsBrokenAndCannotBeRenewed", "x-ms-lease-action", "renew", "x-ms-lease-id", b)
		lease(200, "", "x-ms-lease-action", "release", "x-ms-lease-id", b)
		lease(201, "", "x-ms-lease-action", "acquire", "x-ms-lease-duration", "-1", "x-ms-proposed-lease-id", a)
	}
	// Each write of a leased blob needs the id, and a read must not have a wrong one.
	for _, c := range []call{
		put("/con1/b", "two"), {method: "PUT", path: "/con1/b?comp=metadata"}, {method: "PUT", path: "/con1/b?comp=properties"}, {method: "DELETE", path: "/con1/b"},
		{method: "PUT", path: "/con1/b?comp=block&blockid=AAAA", body: "x"}, {method: "PUT", path: "/con1/b", header: []string{"x-ms-copy-source", "https://labstore.blob.core.windows.net/con1/b"}},
		{method: "PUT", path: "/con1/b?comp=tags", body: "<Tags><TagSet/></Tags>"},
	} {
		f.want(c, 412, "LeaseIdMissing")
		c.header = with(c.header, "x-ms-lease-id", b)
		f.want(c, 412, "LeaseIdMismatchWithBlobOperation")
	}
	f.want(call{method: "GET", path: "/con1/b", header: []string{"x-ms-lease-id", b}}, 412, "LeaseIdMismatchWithBlobOperation")
	h := f.want(call{method: "GET", path: "/con1/b", header: []string{"x-ms-lease-id", a}}, 200, "").Header()
	if h.Get("x-ms-lease-state") != "leased" || h.Get("x-ms-lease-status") != "locked" || h.Get("x-ms-lease-duration") != "infinite" {
		t.Errorf("lease headers %v", h)
	}
	c := put("/con1/b", "two")
	c.header = with(c.header, "x-ms-lease-id", a)
	f.want(c, 201, "")
	f.want(call{method: "DELETE", path: "/con1?restype=container"}, 412, "LeaseIdMissing")
	f.want(call{method: "GET", path: "/con1?restype=container", header: []string{"x-ms-lease-id", b}}, 412, "LeaseIdMismatchWithContainerOperation")
	f.restart()
	f.want(call{method: "DELETE", path: "/con1?restype=container"}, 412, "LeaseIdMissing")
	f.want(call{method: "DELETE", path: "/con1?restype=container", header: []string{"x-ms-lease-id", a}}, 202, "")
}

func TestTiers(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "b", "one")
	set := func(status int, code string, header ...string) {
		f.Helper()
		f.want(call{method: "PUT", path: "/con1/b?comp=tier", header: header}, status, code)
	}
	set(200, "", "x-ms-access-tier", "Archive")
	f.want(call{method: "GET", path: "/con1/b"}, 409, "BlobArchived")
	f.want(call{method: "HEAD", path: "/con1/b"}, 200, "")
	set(202, "", "x-ms-access-tier", "Cool", "x-ms-rehydrate-priority", "High")
	if h := f.want(call{method: "HEAD", path: "/con1/b"}, 200, "").Header(); h.Get("x-ms-archive-status") != "rehydrate-pending-to-cool" || h.Get("x-ms-access-tier") != "Archive" {
		t.Errorf("headers %v", h)
	}
	set(409, "BlobBeingRehydrated", "x-ms-access-tier", "Hot")
	f.clock.Move(time.Hour)
	if f.body("/con1/b") != "one" {
		t.Error("the rehydrated blob has another content")
	}
	set(400, "InvalidHeaderValue", "x-ms-access-tier", "Warm")
	set(400, "MissingRequiredHeader")
}

// TestScrub finds a flipped bit and a missing file, and nothing in what is whole.
func TestScrub(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "small", "x")
	f.put("con1", "flipped", noise(100_000))
	f.put("con1", "missing", noise(50_000))
	f.want(call{method: "PUT", path: "/con1/flipped?comp=snapshot"}, 201, "")
	got, err := f.Scrub(ctx)
	if err != nil || got.Payloads != 3 || got.Bytes != 150_001 || len(got.Damaged) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	path := func(name string) string {
		doc, err := f.stat(ctx, acct, "con1", target{name: name})
		if err != nil {
			t.Fatal(err)
		}
		return f.files.Path(acct, doc.Part.Ref)
	}
	b, err := os.ReadFile(path("flipped"))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-100] ^= 1
	if err := errors.Join(os.WriteFile(path("flipped"), b, 0o600), os.Remove(path("missing"))); err != nil {
		t.Fatal(err)
	}
	got, err = f.Scrub(ctx)
	said := strings.Join(got.Damaged, "\n")
	if err != nil || got.Payloads != 1 || len(got.Damaged) != 2 || !strings.Contains(said, ": it is damaged") || !strings.Contains(said, ": it is missing") {
		t.Errorf("%+v, %v", got, err)
	}
}
