package servicetags

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"vauban.dev/fabric"
)

var _ fabric.TagSource = (*Live)(nil)

// weekly is the form of Microsoft's weekly file.
const weekly = `{"changeNumber": 400, "cloud": "Public", "values": [
  {"name": "Storage.WestEurope", "id": "Storage.WestEurope", "properties": {
    "changeNumber": 12, "region": "westeurope", "regionId": 18, "platform": "Azure", "systemService": "AzureStorage",
    "addressPrefixes": ["20.60.4.0/24", "2603:1020:206::/48"], "networkFeatures": null}}]}`

func TestReadWeeklyFile(t *testing.T) {
	tags, err := Read(strings.NewReader(weekly))
	if err != nil {
		t.Fatal(err)
	}
	e, ok := tags.Entry("storage.westeurope")
	if !ok || tags.List().ChangeNumber != "400" || e.Properties.ChangeNumber != "12" || e.Properties.Region != "westeurope" || len(e.Properties.AddressPrefixes) != 2 {
		t.Errorf("%+v", e)
	}
	old := load(t)
	if lacks := old.Lacks(tags); len(lacks) != 1030 {
		t.Errorf("%d tags went", len(lacks))
	}
	if lacks := tags.Lacks(old); lacks != nil {
		t.Errorf("went: %v", lacks)
	}
	if l := old.List(); l.ChangeNumber != "72" || l.Cloud != "Public" || len(l.Values) != 1031 {
		t.Errorf("the list that the program carries: %s %s", l.ChangeNumber, l.Cloud)
	}
}

func TestReadRefuses(t *testing.T) {
	value := func(name, prefix string) string {
		return fmt.Sprintf(`{"name":%q,"properties":{"addressPrefixes":[%q]}}`, name, prefix)
	}
	for what, text := range map[string]string{
		"no JSON":           "<html>",
		"another document":  `{"hello":1}`,
		"no name":           `{"values":[` + value("", "10.0.0.0/8") + `]}`,
		"a name with space": `{"values":[` + value("a b", "10.0.0.0/8") + `]}`,
		"a name twice":      `{"values":[` + value("a", "10.0.0.0/8") + `,` + value("A", "10.0.0.0/8") + `]}`,
		"no prefix":         `{"values":[` + value("a", "ten") + `]}`,
		"host bits":         `{"values":[` + value("a", "10.0.0.1/8") + `]}`,
		"cut short":         weekly[:len(weekly)/2],
	} {
		if _, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%s was read", what)
		}
	}
}

func TestLiveIsReplacedWhileItIsRead(t *testing.T) {
	one, err := Read(strings.NewReader(weekly))
	if err != nil {
		t.Fatal(err)
	}
	live := NewLive(load(t))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				if p, ok := live.Prefixes("Storage.WestEurope"); !ok || len(p) == 0 {
					t.Error("the tag is gone")
				}
			}
		})
	}
	live.Replace(one)
	wg.Wait()
	if p, _ := live.Prefixes("Storage.WestEurope"); len(p) != 2 || p[0] != netip.MustParsePrefix("20.60.4.0/24") {
		t.Errorf("%v", p)
	}
	if _, ok := live.Prefixes("AzureCloud"); ok {
		t.Error("the old list is in force")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(weekly)
	f.Add(`{"values":[{"name":"a","properties":{"changeNumber":"x","addressPrefixes":["::/0"]}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		tags, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		b, err := json.Marshal(tags.List())
		if err != nil {
			t.Fatal(err)
		}
		again, err := Read(strings.NewReader(string(b)))
		if err != nil {
			t.Fatalf("what was written is not read: %v\n%s", err, b)
		}
		if len(again.Names()) != len(tags.Names()) {
			t.Errorf("%v became %v", tags.Names(), again.Names())
		}
	})
}
