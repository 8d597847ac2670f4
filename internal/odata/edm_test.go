package odata

import (
	"math"
	"testing"
	"time"
)

type edmRow map[string]any

func (r edmRow) Member(name string) (any, bool) {
	v, ok := r[name]
	return v, ok
}

func TestEDM(t *testing.T) {
	row := edmRow{
		"PartitionKey": "pk", "RowKey": "rk", "Age": int64(30), "Big": int64(1) << 60, "Rate": 1.5, "Nan": math.NaN(), "Married": true,
		"Name": "O'Brien", "Born": time.Date(1990, 1, 2, 3, 4, 5, 0, time.UTC), "Id": GUID("c9da6455-213d-42c9-9a79-3e9149a57833"), "Raw": []byte{1, 0xff},
	}
	for filter, want := range map[string]bool{
		"": true, "PartitionKey eq 'pk'": true, "PartitionKey eq 'PK'": false, "partitionkey eq 'pk'": false, "'pk' eq PartitionKey": true,
		"Age ge 30 and Age lt 31": true, "Age eq 30L": true, "Big eq 1152921504606846976L": true, "Big eq 1152921504606846977L": false,
		"Rate gt 1": true, "Rate le 1.5": true, "Rate lt -1e3": false, "Nan eq NaN": false, "Nan ne 1.0": true, "Nan lt 1.0": false,
		"Married": true, "not Married": false, "Married eq true": true, "Married ne true": false, "Missing": false, "not Missing": true,
		"Missing ne 'x'": false, "Age eq '30'": false, "Name eq 'O''Brien'": true,
		"Born gt datetime'1990-01-02T03:04:04.9999999Z'": true, "Born eq datetime'1990-01-02T03:04:05'": true,
		"Id eq guid'C9DA6455-213d-42c9-9a79-3e9149a57833'": true, "Raw eq X'01ff'": true, "Raw eq binary'01FF'": true, "Raw lt X'02'": true,
		"(Age gt 40 or Married) and not (Name eq 'x')": true, "Age gt 40 or Married and Name eq 'x'": false,
	} {
		f, err := ParseEDM(filter)
		if err != nil {
			t.Errorf("%s: %v", filter, err)
			continue
		}
		if got, err := f.Match(row); got != want || err != nil {
			t.Errorf("%s = %v, %v", filter, got, err)
		}
	}
	for _, bad := range []string{
		"Age eq", "eq 5", "Age = 5", "Age eq 'x", "contains(Name, 'x')", "Age in (1,2)", "guid'x' eq Id", "datetime'yesterday' lt Born", "Raw eq X'0'", "(Age eq 1",
		"Age eq 1 Name eq 2", "a-b eq 1",
	} {
		if _, err := ParseEDM(bad); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestBetween(t *testing.T) {
	for filter, want := range map[string][3]any{
		"PartitionKey eq 'a'":                               {"a", "a", true},
		"PartitionKey ge 'a' and PartitionKey lt 'b'":       {"a", "b", true},
		"'a' lt PartitionKey and (X eq 1 or RowKey eq 'z')": {"a", "", false},
		"PartitionKey eq 'a' or PartitionKey eq 'b'":        {"", "", false},
		"not (PartitionKey eq 'a')":                         {"", "", false},
		"PartitionKey ne 'a'":                               {"", "", false},
	} {
		f, err := ParseEDM(filter)
		if err != nil {
			t.Fatal(err)
		}
		if low, high, bounded := Between(f, "PartitionKey"); low != want[0] || high != want[1] || bounded != want[2] {
			t.Errorf("%s: %q %q %v", filter, low, high, bounded)
		}
	}
}

func FuzzParseEDM(f *testing.F) {
	for _, s := range []string{"a eq 'b' and not (c lt 5L)", "x gt datetime'2020-01-01'", "guid'' eq X'ff'", "((((", "a eq 1e400", "-INF lt b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseEDM(s)
		if err != nil {
			return
		}
		row := edmRow{"a": "b", "c": int64(1), "x": time.Unix(0, 0)}
		if _, err := e.Match(row); err != nil {
			return
		}
		low, high, bounded := Between(e, "a")
		if in, _ := e.Match(row); in && (low > "b" || bounded && high < "b") {
			t.Errorf("%q matches a row outside of %q…%q", s, low, high)
		}
	})
}
