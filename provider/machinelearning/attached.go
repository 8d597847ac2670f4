package machinelearning

import (
	"context"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// attachedKinds are the computes that are object only: stored and shown, and no job runs on them. With each stands whether
// it is another resource that is attached.
var attachedKinds = map[string]bool{
	"AKS": true, "Kubernetes": true, "VirtualMachine": true, "HDInsight": true, "DataFactory": true, "DataLakeAnalytics": true, "Databricks": true,
	"SynapseSpark": true, "ComputeInstance": false,
}

// Attached is what other computes than clusters have of their own that must not be shown.
type Attached struct {
	DatabricksToken string `json:"databricksAccessToken,omitempty" rp:"secret"`
	Relay           string `json:"relayConnectionString,omitempty" rp:"secret"`
	ServiceBus      string `json:"serviceBusConnectionString,omitempty" rp:"secret"`
	Administrator   *struct {
		Username   string `json:"username,omitempty"`
		Password   string `json:"password,omitempty" rp:"secret"`
		PrivateKey string `json:"privateKeyData,omitempty" rp:"secret"`
	} `json:"administratorAccount,omitempty"`
	TLS *struct {
		Certificate string `json:"cert,omitempty" rp:"secret"`
		Key         string `json:"key,omitempty" rp:"secret"`
	} `json:"sslConfiguration,omitempty"`
	InstanceState string `json:"state,omitempty" rp:"readonly"`
}

// cluster says whether nodes of this region run for the compute.
func (c *Compute) cluster() bool { return c.ComputeType == "AmlCompute" }

func validateAttached(c *Compute) error {
	names := []string{"AmlCompute"}
	for name := range attachedKinds {
		names = append(names, name)
		if strings.EqualFold(name, c.ComputeType) {
			c.ComputeType = name
			if id := c.ResourceID; id != nil && *id != "" {
				if _, err := arm.ParseID(*id); err != nil {
					return userError("properties.resourceId '%s' is not a resource id.", *id)
				}
			}
			return nil
		}
	}
	slices.Sort(names)
	return userError("properties.computeType '%s' is none of %s.", c.ComputeType, strings.Join(names, ", "))
}

func (p *Provider) admitAttached(tx *rp.Tx, op rp.Op, new *rp.Resource[Compute]) error {
	c := &new.Properties
	if op == rp.Update {
		return nil
	}
	w, err := Get(tx, new.ID.Parent())
	if err != nil {
		return err
	}
	if new.Location == "" {
		new.Location, c.ComputeLocation = w.Location, w.Location
	}
	c.CreatedOn, c.IsAttached = tx.Now, attachedKinds[c.ComputeType]
	if c.ComputeType == "ComputeInstance" {
		if c.Aml == nil || c.Aml.VMSize == "" {
			return userError("properties.properties.vmSize is missing.")
		}
		c.Aml.InstanceState = "Stopped" // no machine runs
	}
	return nil
}

// computeActions are those of all computes.
func (p *Provider) computeActions() map[string]rp.Action[Compute] {
	unserved := func(name string) rp.Action[Compute] {
		return rp.Action[Compute]{Do: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Compute], _ []byte) (any, error) {
			if r.Properties.ComputeType != "ComputeInstance" {
				return nil, userError("'%s' is for compute instances, and '%s' is of type %s.", name, r.ID.Name(), r.Properties.ComputeType)
			}
			if name == "stop" { // it never started
				return nil, nil
			}
			return nil, arm.NotImplemented("'%s' is not implemented: compute instances are object only, and no machine runs for '%s'.", name, r.ID.Name())
		}}
	}
	return map[string]rp.Action[Compute]{
		"listNodes": {Do: p.listNodes}, "listKeys": {Do: computeKeys}, "start": unserved("start"), "stop": unserved("stop"), "restart": unserved("restart"),
	}
}

// computeKeys are the secrets that a client gave for a compute.
func computeKeys(_ context.Context, _ *rp.Tx, r *rp.Resource[Compute], _ []byte) (any, error) {
	c := &r.Properties
	switch {
	case c.cluster() || c.Aml == nil:
	case c.ComputeType == "Databricks":
		return map[string]any{"computeType": c.ComputeType, "databricksAccessToken": c.Aml.DatabricksToken}, nil
	case c.ComputeType == "VirtualMachine":
		return map[string]any{"computeType": c.ComputeType, "administratorAccount": c.Aml.Administrator}, nil
	case c.ComputeType == "AKS":
		return nil, arm.NotImplemented("The credentials of the cluster of '%s' are not here: attached computes are object only.", r.ID.Name())
	}
	return nil, userError("Compute of type %s has no keys.", c.ComputeType)
}
