package check

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"strings"
)

// JUnit writes the report as JUnit XML, which every CI system reads.
func (r *Report) JUnit(w io.Writer) error {
	type failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		File    string   `xml:"file,attr"`
		Line    int      `xml:"line,attr"`
		Failure *failure `xml:"failure,omitempty"`
	}
	suite := struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Cases    []testcase `xml:"testcase"`
	}{Name: r.File, Tests: len(r.Results), Failures: r.Failed()}
	for i := range r.Results {
		x := &r.Results[i]
		c := testcase{Class: x.Name, Name: x.connection(), File: r.File, Line: x.Line}
		if !x.Passed {
			c.Failure = &failure{Message: clean(x.Expect + " expected; " + x.Why), Text: clean(x.detail())}
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// detail is the whole answer of a case.
func (x *Result) detail() string {
	if x.Answer == nil {
		return x.Why
	}
	var b strings.Builder
	if err := x.Answer.Print(&b); err != nil {
		return err.Error()
	}
	return b.String()
}

// clean drops what XML 1.0 cannot hold.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == '\ufffe' || r == '\uffff' {
			return -1
		}
		return r
	}, s)
}

// SARIF writes the cases that have not passed as SARIF 2.1.0, for code scanning.
func (r *Report) SARIF(w io.Writer, toolVersion string) error {
	type object = map[string]any
	results := []object{}
	for i := range r.Results {
		x := &r.Results[i]
		if x.Passed {
			continue
		}
		results = append(results, object{
			"ruleId": "reach", "level": "error", "message": object{"text": x.Name + ": " + x.connection() + ": " + x.Expect + " expected; " + x.Why},
			"locations": []object{{"physicalLocation": object{
				"artifactLocation": object{"uri": r.File}, "region": object{"startLine": max(x.Line, 1)},
			}}},
		})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{
			"tool": object{"driver": object{"name": "vauban check", "version": toolVersion, "rules": []object{{
				"id": "reach", "shortDescription": object{"text": "who must and must not reach what"},
			}}}},
			"results": results,
		}},
	})
}
