// Command apispec makes what package arm/spec knows of Azure's resource types:
//
//	go run ./tools/apispec DIR
//
// DIR holds, anywhere below it, files types.json in the form of Bicep's types (github.com/Azure/bicep-types): what Azure's
// REST API specification says of the resources of one namespace in one api-version, in folders
// <service>/<namespace>/<api-version>. It writes arm/spec/catalog/<namespace>.json.gz, and
// index.json.gz.
//
// All versions of a type become one: a member is required where each version that has its object requires it, read-only
// where each says so, and an enumeration has the values of all. What one version takes is so never refused for another's
// sake.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vauban.dev/arm/spec"
)

// namespaces are those of which the catalog is made: those of the public collection of quickstart templates, without
// the control plane's own, which are never object only.
var namespaces = strings.Fields(`
aad alertsmanagement analysisservices apicenter apimanagement app appconfiguration attestation automanage automation avs azurefleet
batch botservice cache cdn certificateregistration chaos codesigning cognitiveservices communication compute confidentialledger
containerinstance containerregistry containerservice customproviders dashboard databricks datafactory datalakeanalytics datalakestore
datamigration dataprotection datashare dbformariadb dbformysql dbforpostgresql desktopvirtualization devcenter devices deviceupdate
devopsinfrastructure devtestlab digitaltwins documentdb domainregistration elastic elasticsan eventgrid eventhub extendedlocation fabric
fluidrelay hdinsight healthbot healthcareapis hybridcompute insights iotcentral keyvault kubernetes kubernetesconfiguration kusto
labservices loadtestservice logic machinelearning machinelearningservices maintenance managedidentity managedservices maps 
monitor netapp network networkfunction notificationhubs operationalinsights operationsmanagement portal powerbidedicated purview
recoveryservices redhatopenshift relay search security securityinsights servicebus servicefabric servicelinker servicenetworking
signalrservice solutions sql sqlvirtualmachine standbypool storage storageactions storagecache storagemover storagesync streamanalytics
synapse timeseriesinsights videoindexer virtualmachineimages web
`)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: apispec DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1], "arm/spec/catalog"); err != nil {
		fmt.Fprintln(os.Stderr, "apispec:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	files, err := collect(in)
	if err != nil {
		return err
	}
	var index []spec.Namespace
	for _, namespace := range namespaces {
		m := newMerger()
		for _, f := range files["microsoft."+namespace] {
			if err := m.file(f); err != nil {
				return fmt.Errorf("%s: %w", f.path, err)
			}
		}
		n, c := m.catalog()
		if len(n.Types) == 0 {
			return fmt.Errorf("nothing of %s", namespace)
		}
		n.Name = "microsoft." + namespace
		index = append(index, n)
		if err := write(filepath.Join(out, n.Name+".json.gz"), c); err != nil {
			return err
		}
	}
	return write(filepath.Join(out, "index.json.gz"), index)
}

// file is one types.json.
type file struct{ path, service, version string }

// collect finds the files by namespace, versions in their order.
func collect(dir string) (map[string][]file, error) {
	all := map[string][]file{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "types.json" {
			return err
		}
		parts := strings.Split(filepath.ToSlash(path), "/")
		if n := len(parts); n >= 4 {
			service, _, _ := strings.Cut(parts[n-4], "_")
			all[parts[n-3]] = append(all[parts[n-3]], file{path, service, parts[n-2]})
		}
		return nil
	})
	for _, files := range all {
		slices.SortFunc(files, func(a, b file) int {
			return strings.Compare(a.version+"\x00"+a.path, b.version+"\x00"+b.path)
		})
	}
	return all, err
}

func write(path string, c any) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, z.Bytes(), 0o644)
}
