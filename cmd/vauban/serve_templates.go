package main

import (
	"cmp"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/export"
	"vauban.dev/provider/storage"
)

// containersType is what templates call blob containers.
const containersType = storage.AccountType + "/blobServices/containers"

// exportedContainers are the blob containers of an exported account, but for those that its workspaces make.
func exportedContainers(data containers) export.Kept {
	return export.Kept{Type: containersType, Under: storage.AccountType, List: func(tx *rp.Tx, account arm.ID) (docs []*rp.Document, err error) {
		all, err := data.ListContainers(tx, account)
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			if strings.HasPrefix(c.Name, "azureml") {
				continue
			}
			id, err := arm.ParseID(account.String() + "/blobServices/default/containers/" + c.Name)
			if err != nil {
				return nil, err
			}
			properties := map[string]any{"publicAccess": cmp.Or(c.PublicAccess, "None")}
			if len(c.Metadata) > 0 {
				metadata := map[string]any{}
				for k, v := range c.Metadata {
					metadata[k] = v
				}
				properties["metadata"] = metadata
			}
			docs = append(docs, &rp.Document{ID: id, Type: containersType, Kind: rp.Proxy, Version: "2023-01-01", State: arm.Succeeded, Body: map[string]any{"properties": properties}})
		}
		return docs, nil
	}}
}
