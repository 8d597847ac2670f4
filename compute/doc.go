// Package compute is what runs users' work: the document that describes one task, the states of a
// task and of a node, and what a node reports. It knows nothing of ARM and nothing of the store.
//
//   - compute/oci runs one container on this machine's kernel;
//   - compute/agent is the process on a node that takes tasks and runs them, through the node's NIC only;
//   - compute/batch is the protocol between the batch service and the agents;
//   - compute/cluster decides how many nodes a cluster has.
package compute
