package entra

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Instance is the instance document of IMDS, as far as the region has it ("Azure Instance Metadata
// Service", Instance metadata). All values are strings, as there.
type Instance struct {
	Compute struct {
		AzEnvironment     string     `json:"azEnvironment"` // AzurePublicCloud
		Location          string     `json:"location"`
		Name              string     `json:"name"`
		OSType            string     `json:"osType"`
		ResourceGroupName string     `json:"resourceGroupName"`
		ResourceID        string     `json:"resourceId"`
		SubscriptionID    string     `json:"subscriptionId"`
		Tags              string     `json:"tags"` // name:value;name:value
		TagsList          []NamedTag `json:"tagsList"`
		VMID              string     `json:"vmId"`
		VMScaleSetName    string     `json:"vmScaleSetName"`
		VMSize            string     `json:"vmSize"`
		Zone              string     `json:"zone"`
	} `json:"compute"`
	Network struct {
		Interface []InstanceNIC `json:"interface"`
	} `json:"network"`
}

// NamedTag is one tag of the instance document.
type NamedTag struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// InstanceNIC is one network interface of the instance document.
type InstanceNIC struct {
	IPv4 struct {
		IPAddress []struct {
			Private string `json:"privateIpAddress"`
			Public  string `json:"publicIpAddress"`
		} `json:"ipAddress"`
		Subnet []struct {
			Address string `json:"address"`
			Prefix  string `json:"prefix"`
		} `json:"subnet"`
	} `json:"ipv4"`
	IPv6 struct {
		IPAddress []struct{} `json:"ipAddress"`
	} `json:"ipv6"`
	MAC string `json:"macAddress"` // twelve hexadecimal digits
}

// instanceVersions are the api-versions of the instance document; its fields are the same in all.
var instanceVersions = []string{"2017-08-01", "2018-02-01", "2018-10-01", "2019-06-01", "2019-11-01", "2020-06-01", "2020-09-01", "2021-01-01", "2021-02-01", "2021-05-01", "2021-12-13"}

// instance answers /metadata/instance and, below it, the parts of the document: .../compute/name.
func (s *imds) instance(w http.ResponseWriter, r *http.Request, nic, path string) error {
	q := r.URL.Query()
	if !slices.Contains(instanceVersions, q.Get("api-version")) {
		writeJSON(w, http.StatusBadRequest, map[string]any{
			"error":           "Bad request. api-version was not specified in the request or is not supported. For more information refer to aka.ms/azureimds",
			"newest-versions": []string{"2021-12-13", "2021-05-01", "2021-02-01"},
		})
		return nil
	}
	doc, err := s.machines.Instance(r.Context(), nic)
	if errors.Is(err, ErrNoMachine) {
		return unknownSource(r)
	}
	if err != nil {
		return err
	}
	part, ok, err := below(doc, path)
	if err != nil {
		return err
	}
	if !ok {
		return &metadataError{http.StatusNotFound, "not_found", "Not found"}
	}
	text, leaf := part.(string)
	switch format := q.Get("format"); {
	case format == "text" && leaf:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(text)) // the client is gone otherwise
	case format == "text" || format == "" && leaf:
		return badMetadata("The requested format is not served for this path: json serves documents, text serves single values")
	default:
		writeJSON(w, http.StatusOK, part)
	}
	return nil
}

// below walks a path of names, in lower case, and indexes into the document.
func below(doc Instance, path string) (any, bool, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, false, err
	}
	var at any
	if err := json.Unmarshal(raw, &at); err != nil {
		return nil, false, err
	}
	for seg := range strings.SplitSeq(path, "/") {
		if seg == "" {
			continue
		}
		var ok bool
		if at, ok = child(at, seg); !ok {
			return nil, false, nil
		}
	}
	return at, true, nil
}

func child(at any, seg string) (any, bool) {
	switch v := at.(type) {
	case map[string]any:
		for name, value := range v {
			if strings.EqualFold(name, seg) {
				return value, true
			}
		}
	case []any:
		if i, err := strconv.Atoi(seg); err == nil && i >= 0 && i < len(v) {
			return v[i], true
		}
	}
	return nil, false
}
