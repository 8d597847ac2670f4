package blob

import (
	"encoding/json"
	"fmt"
	"testing"
)

// A log that grows is one JSON document after every block, also across a restart.
func TestInsert(t *testing.T) {
	f := newFixture(t)
	insert := func(container, name string, n int) error {
		_, err := f.Insert(ctx, acct, container, name, []byte(`{"records":[`), []byte(","), fmt.Appendf(nil, `{"n":%d}`, n), []byte("]}"))
		return err
	}
	if err := insert("con1", "log", 0); !IsCode(err, CodeContainerNotFound) {
		t.Fatalf("no container: %v", err)
	}
	f.container("con1")
	for n := range 4 {
		if err := insert("con1", "log", n); err != nil {
			t.Fatal(err)
		}
		var doc struct{ Records []struct{ N int } }
		if err := json.Unmarshal([]byte(f.read("con1", "log")), &doc); err != nil || len(doc.Records) != n+1 || doc.Records[n].N != n {
			t.Fatalf("after block %d: %v %s", n, err, f.read("con1", "log"))
		}
		if n == 1 {
			f.restart()
		}
	}
	// what is there under the name and has no blocks is not touched
	f.put("con1", "other", "whole")
	if err := insert("con1", "other", 1); !IsCode(err, CodeBlobAlreadyExists) || f.read("con1", "other") != "whole" {
		t.Errorf("a whole blob: %v", err)
	}
}
