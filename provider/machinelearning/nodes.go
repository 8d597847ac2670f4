package machinelearning

import (
	"context"

	"vauban.dev/arm/rp"
)

// NodeInfo is what the region's own commands show of a node.
type NodeInfo struct {
	ID        string   `json:"id"`
	Cluster   string   `json:"cluster"`
	State     string   `json:"state"`
	NIC       string   `json:"nic"`
	Private   string   `json:"privateAddress"`
	Public    string   `json:"publicAddress,omitempty"`
	SSH       int      `json:"sshPort,omitempty"` // of Public; 0 for none
	Run       string   `json:"run,omitempty"`
	Isolation []string `json:"isolation,omitempty"`
}

// Nodes lists the nodes of all clusters.
func (p *Provider) Nodes(ctx context.Context) (out []NodeInfo, err error) {
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		all, err := scanDocs(tx, kindNode, func(*node) bool { return true })
		for _, n := range all {
			out = append(out, NodeInfo{
				ID: n.ID, Cluster: n.Cluster, State: string(n.State), NIC: n.NIC.ID, Private: n.NIC.Private, Public: n.NIC.Public, SSH: n.NIC.SSH, Run: n.Task, Isolation: n.Runs})
		}
		return err
	})
	return out, err
}
