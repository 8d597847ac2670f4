package table

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/internal/storagehttp/storagetest"
	"vauban.dev/store"
)

type call = storagetest.Call

func newTable(t testing.TB) *rig {
	t.Helper()
	r := newRig(t)
	r.Want(call{Method: "POST", Path: "/Tables", Body: `{"TableName":"People"}`}, 201, "")
	return r
}

func (r *rig) insert(body string) {
	r.Helper()
	r.Want(call{Method: "POST", Path: "/People", Body: body, Header: []string{"Prefer", "return-no-content"}}, 204, "")
}

func (r *rig) object(path string, header ...string) map[string]any {
	r.Helper()
	w := r.Want(call{Method: "GET", Path: path, Header: header}, 200, "")
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		r.Fatalf("%v\n%s", err, w.Body)
	}
	return v
}

func (r *rig) rows(query string) (rows []string) {
	r.Helper()
	for _, e := range r.object("/People()?" + query)["value"].([]any) {
		rows = append(rows, fmt.Sprint(e.(map[string]any)["RowKey"]))
	}
	return rows
}

func TestTables(t *testing.T) {
	r := newTable(t)
	for _, tt := range []struct {
		body   string
		status int
		code   string
	}{
		{`{"TableName":"PEOPLE"}`, 409, "TableAlreadyExists"},
		{`{"TableName":"a1"}`, 400, "OutOfRangeInput"},
		{`{"TableName":"1abc"}`, 400, "InvalidResourceName"},
		{`{"TableName":"tables"}`, 400, "InvalidResourceName"},
		{`{`, 400, "InvalidInput"},
	} {
		r.Want(call{Method: "POST", Path: "/Tables", Body: tt.body}, tt.status, tt.code)
	}
	r.Want(call{Method: "POST", Path: "/Tables", Body: `{"TableName":"b12"}`, Header: []string{"Prefer", "return-no-content"}}, 204, "")
	w := r.Want(call{Method: "GET", Path: "/Tables?$top=1"}, 200, "")
	next := w.Header().Get("x-ms-continuation-NextTableName")
	if got := r.object("/Tables?NextTableName=" + url.QueryEscape(next))["value"].([]any); next == "" || len(got) != 1 || got[0].(map[string]any)["TableName"] != "People" {
		t.Errorf("after %q: %v", next, got)
	}
	if v := r.object("/Tables('people')", "Accept", "application/json;odata=fullmetadata"); v["TableName"] != "People" || v["odata.type"] != "labstore.Tables" {
		t.Errorf("%v", v)
	}
	r.Want(call{Method: "GET", Path: "/Tables", Header: []string{"Accept", "application/atom+xml"}}, 415, "AtomFormatNotSupported")
	r.Want(call{Method: "DELETE", Path: "/Tables('none')"}, 404, "ResourceNotFound")
	r.insert(`{"PartitionKey":"a","RowKey":"b"}`)
	r.Want(call{Method: "DELETE", Path: "/Tables('people')"}, 204, "")
	r.Want(call{Method: "GET", Path: "/People()"}, 404, "TableNotFound")
	if err := r.s.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := r.Store.View(context.Background(), func(tx store.Tx) error {
		return tx.Scan(kindEntity, "", "", func(d store.Doc) bool { t.Errorf("%s is left", d.Key); return true })
	}); err != nil {
		t.Fatal(err)
	}
}

// TestTypes: each type comes back as it was, and each level of metadata says what it should.
func TestTypes(t *testing.T) {
	r := newTable(t)
	r.insert(`{"PartitionKey":"it's","RowKey":"","text":"x","i":5,"l":"9007199254740993","l@odata.type":"Edm.Int64","d":1.5,"whole":2.0,"huge":4294967296,
		"nan":"NaN","nan@odata.type":"Edm.Double","b":true,"t":"2020-01-02T03:04:05.1234567Z","t@odata.type":"Edm.DateTime","g":"C9DA6455-213D-42C9-9A79-3E9149A57833",
		"g@odata.type":"Edm.Guid","raw":"AP8=","raw@odata.type":"Edm.Binary","none":null}`)
	const one = "/People(PartitionKey='it''s',RowKey='')"
	v := r.object(one)
	for name, want := range map[string]any{
		"text": "x", "i": 5.0, "l": "9007199254740993", "l@odata.type": "Edm.Int64", "d": 1.5, "whole": 2.0, "huge": 4294967296.0, "nan": "NaN", "nan@odata.type": "Edm.Double",
		"b": true, "t": "2020-01-02T03:04:05.1234567Z", "g": "c9da6455-213d-42c9-9a79-3e9149a57833", "raw": "AP8=", "none": nil, "d@odata.type": nil,
		"odata.metadata": "http://labstore.table.core.windows.net/$metadata#People/@Element",
	} {
		if v[name] != want {
			t.Errorf("%s is %v, not %v", name, v[name], want)
		}
	}
	none := r.object(one, "Accept", "application/json;odata=nometadata")
	full := r.object(one, "Accept", "application/json;odata=fullmetadata")
	if none["l@odata.type"] != nil || none["odata.etag"] != nil || full["odata.editLink"] != "People(PartitionKey='it%27%27s',RowKey='')" && full["odata.editLink"] != "People(PartitionKey='it''s',RowKey='')" || full["d@odata.type"] != "Edm.Double" {
		t.Errorf("none %v\nfull %v", none, full)
	}
	if v := r.object(one + "?$select=i,missing"); len(v) != 4 || v["i"] != 5.0 {
		t.Errorf("selected %v", v)
	}
}

func TestEntityRefusals(t *testing.T) {
	r := newTable(t)
	many := func(n int, value string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"p%d":%s`, i, value)
		}
		return b.String()
	}
	long := `"` + strings.Repeat("x", maxValue/2) + `"`
	for _, tt := range []struct{ body, code string }{
		{`{"PartitionKey":"a","RowKey":"b"` + many(253, "1") + `}`, "TooManyProperties"},
		{`{"PartitionKey":"a","RowKey":"b"` + many(16, long) + `}`, "EntityTooLarge"},
		{`{"PartitionKey":"a","RowKey":"b","x":"` + strings.Repeat("x", maxValue/2+1) + `"}`, "PropertyValueTooLarge"},
		{`{"PartitionKey":"a","RowKey":"b","` + strings.Repeat("x", 256) + `":1}`, "PropertyNameTooLong"},
		{`{"PartitionKey":"a","RowKey":"b","a b":1}`, "PropertyNameInvalid"},
		{`{"PartitionKey":"` + strings.Repeat("x", 513) + `","RowKey":"b"}`, "KeyValueTooLarge"},
		{`{"PartitionKey":"a/b","RowKey":"b"}`, "OutOfRangeInput"},
		{`{"PartitionKey":"a","RowKey":"b\u0001"}`, "OutOfRangeInput"},
		{`{"PartitionKey":"a"}`, "PropertiesNeedValue"},
		{`{"PartitionKey":"a","RowKey":null}`, "PropertiesNeedValue"},
		{`{"PartitionKey":5,"RowKey":"b"}`, "InvalidInput"},
		{`{"PartitionKey":"a","RowKey":"b","x":{}}`, "InvalidInput"},
		{`{"PartitionKey":"a","RowKey":"b","x":"y","x@odata.type":"Edm.Int64"}`, "InvalidInput"},
		{`{"PartitionKey":"a","RowKey":"b","x":1,"x@odata.type":"Edm.Duration"}`, "InvalidInput"},
		{`{"PartitionKey":"a","RowKey":"b","x":"1600-01-01T00:00:00Z","x@odata.type":"Edm.DateTime"}`, "InvalidInput"},
		{`{"PartitionKey":"a","RowKey":"b"} {}`, "InvalidInput"},
		{`[]`, "InvalidInput"},
	} {
		r.Want(call{Method: "POST", Path: "/People", Body: tt.body}, 400, tt.code)
	}
	r.Want(call{Method: "POST", Path: "/Nobody", Body: `{"PartitionKey":"a","RowKey":"b"}`}, 404, "TableNotFound")
	r.Want(call{Method: "GET", Path: "/People(PartitionKey='a')"}, 400, "InvalidUri")
	r.Want(call{Method: "GET", Path: "/People(PartitionKey='a',RowKey='b'"}, 400, "InvalidUri")
	r.Want(call{Method: "GET", Path: "/People()?$filter=contains(a,%27b%27)"}, 400, "InvalidInput")
	r.Want(call{Method: "GET", Path: "/People()?$top=1001"}, 400, "InvalidInput")
	r.Want(call{Method: "GET", Path: "/People()?NextPartitionKey=x"}, 400, "InvalidQueryParameterValue")
}

// TestWrites: what each method does to an entity that is there and to one that is not, and by which ETag.
func TestWrites(t *testing.T) {
	r := newTable(t)
	r.insert(`{"PartitionKey":"a","RowKey":"b","x":1,"y":2}`)
	const one, none = "/People(PartitionKey='a',RowKey='b')", "/People(RowKey='c',PartitionKey='a')"
	etag := r.Want(call{Method: "GET", Path: one}, 200, "").Header().Get("ETag")
	r.Want(call{Method: "POST", Path: "/People", Body: `{"PartitionKey":"a","RowKey":"b"}`}, 409, "EntityAlreadyExists")
	r.Want(call{Method: "MERGE", Path: one, Body: `{"x":3}`, Header: []string{"If-Match", etag}}, 204, "")
	if v := r.object(one); v["x"] != 3.0 || v["y"] != 2.0 {
		t.Errorf("merged %v", v)
	}
	r.Want(call{Method: "PUT", Path: one, Body: `{"z":1}`, Header: []string{"If-Match", etag}}, 412, "UpdateConditionNotSatisfied")
	r.Want(call{Method: "PUT", Path: one, Body: `{"z":1}`, Header: []string{"If-Match", "x"}}, 400, "InvalidHeaderValue")
	r.Want(call{Method: "PUT", Path: one, Body: `{"PartitionKey":"other"}`, Header: []string{"If-Match", "*"}}, 400, "InvalidInput")
	r.Want(call{Method: "PUT", Path: none, Body: `{}`, Header: []string{"If-Match", "*"}}, 404, "ResourceNotFound")
	r.Want(call{Method: "POST", Path: none, Body: `{"x":1}`, Header: []string{"X-HTTP-Method", "MERGE"}}, 204, "")
	r.Want(call{Method: "PUT", Path: none, Body: `{"y":1}`}, 204, "")
	if v := r.object(none); v["x"] != nil || v["y"] != 1.0 {
		t.Errorf("replaced %v", v)
	}
	r.Want(call{Method: "DELETE", Path: one}, 400, "MissingRequiredHeader")
	r.Want(call{Method: "DELETE", Path: one, Header: []string{"If-Match", etag}}, 412, "UpdateConditionNotSatisfied")
	r.Want(call{Method: "DELETE", Path: one, Header: []string{"If-Match", "*"}}, 204, "")
	r.Want(call{Method: "DELETE", Path: one, Header: []string{"If-Match", "*"}}, 404, "ResourceNotFound")
}

func TestQuery(t *testing.T) {
	r := newTable(t)
	for _, p := range []string{"a", "ab", "b"} {
		for i := range 4 {
			r.insert(fmt.Sprintf(`{"PartitionKey":%q,"RowKey":"%s%d","n":%d,"name":"N%d"}`, p, p, i, i, i))
		}
	}
	for query, want := range map[string]string{
		"":                    "[a0 a1 a2 a3 ab0 ab1 ab2 ab3 b0 b1 b2 b3]",
		"PartitionKey eq 'a'": "[a0 a1 a2 a3]",
		"PartitionKey eq 'A'": "[]",
		"PartitionKey ge 'ab' and PartitionKey lt 'b' and n ge 2":         "[ab2 ab3]",
		"PartitionKey eq 'a' and RowKey gt 'a1' and RowKey le 'a3'":       "[a2 a3]",
		"RowKey eq 'b1' or (name eq 'N0' and not (PartitionKey eq 'ab'))": "[a0 b0 b1]",
		"n eq 1 and PartitionKey gt 'a'":                                  "[ab1 b1]",
		"Timestamp gt datetime'2030-01-01T00:00:00Z'":                     "[]",
	} {
		if got := fmt.Sprint(r.rows("$filter=" + url.PathEscape(query))); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	var all []string
	next := ""
	for range 12 {
		w := r.Want(call{Method: "GET", Path: "/People()?$top=5&$filter=" + url.PathEscape("n ne 3") + next}, 200, "")
		var v struct{ Value []struct{ RowKey string } }
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		for _, e := range v.Value {
			all = append(all, e.RowKey)
		}
		h := w.Header()
		if h.Get("x-ms-continuation-NextPartitionKey") == "" {
			break
		}
		next = "&NextPartitionKey=" + url.QueryEscape(h.Get("x-ms-continuation-NextPartitionKey")) + "&NextRowKey=" + url.QueryEscape(h.Get("x-ms-continuation-NextRowKey"))
	}
	if got := fmt.Sprint(all); got != "[a0 a1 a2 ab0 ab1 ab2 b0 b1 b2]" {
		t.Errorf("pages: %s", got)
	}
}

func batch(parts ...string) (header []string, body string) {
	var b strings.Builder
	b.WriteString("--batch_1\r\nContent-Type: multipart/mixed; boundary=changeset_1\r\n\r\n")
	for _, p := range parts {
		b.WriteString("--changeset_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n" + p + "\r\n")
	}
	b.WriteString("--changeset_1--\r\n\r\n--batch_1--\r\n")
	return []string{"Content-Type", "multipart/mixed; boundary=batch_1"}, b.String()
}

func insertPart(partition, row string) string {
	body := fmt.Sprintf(`{"PartitionKey":%q,"RowKey":%q}`, partition, row)
	return fmt.Sprintf("POST https://labstore.table.core.windows.net/People HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// TestTransaction: all or nothing, and the refusal tells which operation it is about.
func TestTransaction(t *testing.T) {
	r := newTable(t)
	do := func(parts ...string) string {
		t.Helper()
		header, body := batch(parts...)
		return r.Want(call{Method: "POST", Path: "/$batch", Header: header, Body: body}, 202, "").Body.String()
	}
	if b := do(insertPart("a", "1"), insertPart("a", "2")); strings.Count(b, "HTTP/1.1 201") != 2 {
		t.Error(b)
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = insertPart("m", fmt.Sprint(i))
	}
	for name, tt := range map[string]struct {
		parts []string
		want  string
	}{
		"one is there":     {[]string{insertPart("a", "3"), insertPart("a", "1")}, `"EntityAlreadyExists","message":{"lang":"en-US","value":"1:`},
		"two partitions":   {[]string{insertPart("a", "3"), insertPart("b", "3")}, "CommandsInBatchActOnDifferentPartitions"},
		"one entity twice": {[]string{insertPart("a", "3"), insertPart("a", "3")}, "InvalidDuplicateRow"},
		"a bad key":        {[]string{insertPart("a", "3"), insertPart("a", "#")}, `"OutOfRangeInput","message":{"lang":"en-US","value":"1:`},
	} {
		if b := do(tt.parts...); !strings.Contains(b, tt.want) {
			t.Errorf("%s: %s", name, b)
		}
	}
	if got := fmt.Sprint(r.rows("")); got != "[1 2]" {
		t.Errorf("what was refused is there: %s", got)
	}
	header, body := batch(many...)
	r.Want(call{Method: "POST", Path: "/$batch", Header: header, Body: body}, 400, "InvalidInput")
	r.Want(call{Method: "POST", Path: "/$batch", Header: []string{"Content-Type", "text/plain"}, Body: body}, 400, "InvalidInput")
	q := r.Sign(url.Values{"sv": {"2023-11-03"}, "sp": {"a"}, "se": {"2026-11-23"}, "tn": {"people"}}, func(s *storagehttp.SAS) string {
		return serviceText(s, storagetest.Name, url.Values{"tn": {"people"}}.Get)
	})
	header, body = batch("DELETE https://labstore.table.core.windows.net/People(PartitionKey='a',RowKey='1') HTTP/1.1\r\nIf-Match: *\r\n\r\n")
	if b := r.Want(call{Method: "POST", Path: "/$batch", Header: header, Body: body, Auth: q}, 202, "").Body.String(); !strings.Contains(b, "AuthorizationPermissionMismatch") {
		t.Error(b)
	}
	header, body = batch("GET https://labstore.table.core.windows.net/People() HTTP/1.1\r\n\r\n")
	if b := r.Want(call{Method: "POST", Path: "/$batch", Header: header, Body: body}, 202, "").Body.String(); !strings.Contains(b, "InvalidInput") {
		t.Error(b)
	}
}

func TestAuthorization(t *testing.T) {
	r := newTable(t)
	for _, row := range []string{"1", "2", "3"} {
		r.insert(fmt.Sprintf(`{"PartitionKey":"a","RowKey":%q}`, row))
	}
	sas := func(kv ...string) string {
		q := url.Values{"sv": {"2023-11-03"}, "se": {"2026-11-22T11:00:00Z"}, "tn": {"People"}}
		for i := 0; i < len(kv); i += 2 {
			q.Set(kv[i], kv[i+1])
		}
		return r.Sign(q, func(s *storagehttp.SAS) string { return serviceText(s, storagetest.Name, q.Get) })
	}
	const one = "/People(PartitionKey='a',RowKey='1')"
	r.Want(call{Method: "GET", Path: one, Auth: sas("sp", "r")}, 200, "")
	r.Want(call{Method: "GET", Path: one, Auth: sas("sp", "aud")}, 403, "AuthorizationPermissionMismatch")
	r.Want(call{Method: "GET", Path: one, Auth: sas("sp", "r", "tn", "Other")}, 403, "AuthenticationFailed")
	r.Want(call{Method: "GET", Path: one, Auth: sas("sp", "r", "spk", "a", "srk", "2")}, 403, "AuthorizationFailure")
	r.Want(call{Method: "PUT", Path: one, Body: "{}", Auth: sas("sp", "a")}, 403, "AuthorizationPermissionMismatch")
	r.Want(call{Method: "PUT", Path: one, Body: "{}", Auth: sas("sp", "au")}, 204, "")
	w := r.Want(call{Method: "GET", Path: "/People()", Auth: sas("sp", "r", "spk", "a", "srk", "2", "epk", "a", "erk", "2")}, 200, "")
	if n := strings.Count(w.Body.String(), "RowKey"); n != 1 {
		t.Errorf("%d entities in the range: %s", n, w.Body)
	}
	r.Want(call{Method: "GET", Path: "/Tables", Auth: sas("sp", "r")}, 403, "AuthorizationPermissionMismatch")
	r.Want(call{Method: "GET", Path: one, Auth: "token"}, 403, "AuthorizationPermissionMismatch")
	r.Grants[entitiesRead], r.Grants[entitiesAdd] = true, true
	r.Want(call{Method: "GET", Path: one, Auth: "token"}, 200, "")
	r.Want(call{Method: "PUT", Path: one, Body: "{}", Auth: "token"}, 403, "AuthorizationPermissionMismatch")
	r.Grants[entitiesUpdate] = true
	r.Want(call{Method: "PUT", Path: one, Body: "{}", Auth: "token"}, 204, "")
	r.Want(call{Method: "PUT", Path: "/People?comp=acl", Auth: "token"}, 403, "AuthorizationPermissionMismatch")
	r.Want(call{Method: "GET", Path: one, Auth: "none"}, 401, "NoAuthenticationInformation")
	r.Want(call{Method: "POST", Path: "/$batch", Auth: "none"}, 401, "NoAuthenticationInformation")
	r.Account.Firewall.PublicNetworkAccess = "Disabled"
	r.Want(call{Method: "GET", Path: one}, 403, "AuthorizationFailure")
}

// TestAtRest: no value of an entity is in the store, and an entity that is moved there does not open.
func TestAtRest(t *testing.T) {
	r := newTable(t)
	const text = "a text that is long enough to be looked for"
	r.insert(`{"PartitionKey":"a","RowKey":"b","secret":"` + text + `"}`)
	err := r.Store.Update(context.Background(), func(tx store.Tx) error {
		var found store.Doc
		err := tx.Scan(kindEntity, "", "", func(d store.Doc) bool { found = d; return false })
		if bytes.Contains(found.Value, []byte(text)) {
			t.Errorf("%s has the text", found.Key)
		}
		if err == nil {
			_, err = tx.Put(kindEntity, strings.TrimSuffix(found.Key, "b")+"c", found.Value, store.Any)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Want(call{Method: "GET", Path: "/People(PartitionKey='a',RowKey='c')"}, 500, "InternalError")
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/Tables('a')", "/a(PartitionKey='it''s',RowKey='')", "/$batch", "/a()", "/a(b", "/Tables(", "//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePath(s)
		if err == nil && p.keys && p.table != "" && !strings.ContainsAny(p.table, "(/") {
			again, err := parsePath("/" + p.table + "(PartitionKey='" + strings.ReplaceAll(p.partition, "'", "''") + "',RowKey='" + strings.ReplaceAll(p.row, "'", "''") + "')")
			if err != nil || again != p {
				t.Errorf("%q: %+v and %+v, %v", s, p, again, err)
			}
		}
	})
}

func FuzzEntity(f *testing.F) {
	f.Add(`{"PartitionKey":"a","RowKey":"b","l":"5","l@odata.type":"Edm.Int64","d":1e300,"n":null}`)
	f.Add(`{"x":"2020-01-01","x@odata.type":"Edm.DateTime","y":"NaN","y@odata.type":"Edm.Double"}`)
	f.Fuzz(func(t *testing.T, s string) {
		e, _, _, err := parseEntity([]byte(s))
		if err != nil {
			return
		}
		e.Timestamp = time.Unix(0, 0)
		v := view{level: fullMetadata, table: "t"}
		again, _, _, err := parseEntity(v.entity(&e, true))
		if err != nil || len(again.Properties) != len(e.Properties) {
			t.Errorf("%s became %s: %v", s, v.entity(&e, true), err)
		}
		b, err := json.Marshal(entityDoc{1, e.Properties})
		var doc entityDoc
		if err == nil {
			err = json.Unmarshal(b, &doc)
		}
		if err != nil {
			t.Errorf("%s in the store: %v", b, err)
		}
	})
}

func FuzzBatch(f *testing.F) {
	_, body := batch(insertPart("a", "b"))
	f.Add("multipart/mixed; boundary=batch_1", body)
	f.Add("multipart/mixed; boundary=x", "--x\r\n\r\nGET / HTTP/1.1\r\n\r\n--x--")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		parts, _, err := parseBatch(contentType, []byte(body))
		if err == nil && len(parts) > maxOperations {
			t.Errorf("%d parts", len(parts))
		}
	})
}

func BenchmarkInsert(b *testing.B) {
	r := newTable(b)
	var n int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			op := Operation{Action: Insert, Entity: Entity{PartitionKey: "p", RowKey: randomID(), Properties: map[string]Value{"n": {edmInt64, n}}}}
			if _, err := r.s.Apply(context.Background(), storagetest.Name, "People", []Operation{op}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkQuery(b *testing.B) {
	r := newTable(b)
	ops := make([]Operation, maxPage)
	for i := range ops {
		ops[i] = Operation{Action: Insert, Entity: Entity{PartitionKey: "p", RowKey: fmt.Sprintf("%04d", i), Properties: map[string]Value{"n": {edmInt64, int64(i)}}}}
	}
	if _, err := r.s.Apply(context.Background(), storagetest.Name, "People", ops); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r.Want(call{Method: "GET", Path: "/People()?$filter=PartitionKey%20eq%20%27p%27"}, 200, "")
	}
}
