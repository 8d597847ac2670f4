package rp

import (
	"strings"
	"unicode"
)

// operationTexts are the names that Azure's providers give operations where they do not follow from the type.
var operationTexts = map[string]string{
	"microsoft.resources/subscriptions/resourcegroups/write":              "Update resource group",
	"microsoft.resources/subscriptions/resourcegroups/delete":             "Delete resource group",
	"microsoft.resources/deployments/write":                               "Create Deployment",
	"microsoft.authorization/roleassignments/write":                       "Create role assignment",
	"microsoft.authorization/roleassignments/delete":                      "Delete role assignment",
	"microsoft.authorization/roledefinitions/write":                       "Create or update custom role definition",
	"microsoft.authorization/roledefinitions/delete":                      "Delete custom role definition",
	"microsoft.authorization/locks/write":                                 "Add management locks",
	"microsoft.authorization/locks/delete":                                "Delete management locks",
	"microsoft.authorization/policyassignments/write":                     "Create policy assignment",
	"microsoft.authorization/policyassignments/delete":                    "Delete policy assignment",
	"microsoft.authorization/policydefinitions/write":                     "Create policy definition",
	"microsoft.authorization/policydefinitions/delete":                    "Delete policy definition",
	"microsoft.authorization/policies/audit/action":                       "'audit' Policy action.",
	"microsoft.authorization/policies/deny/action":                        "'deny' Policy action.",
	"microsoft.authorization/policies/append/action":                      "'append' Policy action.",
	"microsoft.authorization/policies/modify/action":                      "'modify' Policy action.",
	"microsoft.authorization/policies/auditifnotexists/action":            "'auditIfNotExists' Policy action.",
	"microsoft.authorization/policies/deployifnotexists/action":           "'deployIfNotExists' Policy action.",
	"microsoft.authorization/policies/denyaction/action":                  "'denyAction' Policy action.",
	"microsoft.storage/storageaccounts/write":                             "Create/Update Storage Account",
	"microsoft.storage/storageaccounts/delete":                            "Delete Storage Account",
	"microsoft.storage/storageaccounts/listkeys/action":                   "List Storage Account Keys",
	"microsoft.storage/storageaccounts/regeneratekey/action":              "Regenerate Storage Account Keys",
	"microsoft.keyvault/vaults/write":                                     "Update Key Vault",
	"microsoft.keyvault/vaults/delete":                                    "Delete Key Vault",
	"microsoft.compute/virtualmachines/start/action":                      "Start Virtual Machine",
	"microsoft.compute/virtualmachines/deallocate/action":                 "Deallocate Virtual Machine",
	"microsoft.machinelearningservices/workspaces/write":                  "Create or Update Machine Learning Services Workspace(s)",
	"microsoft.machinelearningservices/workspaces/delete":                 "Delete Machine Learning Services Workspace(s)",
	"microsoft.machinelearningservices/workspaces/computes/write":         "Create or Update the compute resources in Machine Learning Services Workspace",
	"microsoft.machinelearningservices/workspaces/computes/delete":        "Delete the compute resources in Machine Learning Services Workspace",
	"microsoft.machinelearningservices/workspaces/resynckeys/action":      "Resync secrets for a Machine Learning Services Workspace",
	"microsoft.machinelearningservices/workspaces/listkeys/action":        "List secrets for a Machine Learning Services Workspace",
	"microsoft.machinelearningservices/workspaces/experiments/runs/write": "Create or Update runs in Machine Learning Services Workspace(s)",
}

// operationText is the name of an operation in words, as localizedValue shows it: "Create or Update Virtual Network".
func operationText(operation string) string {
	if text, ok := operationTexts[strings.ToLower(operation)]; ok {
		return text
	}
	parts := strings.Split(operation, "/")
	if len(parts) < 3 {
		return operation
	}
	verb, kind := parts[len(parts)-1], parts[len(parts)-2]
	switch strings.ToLower(verb) {
	case "write":
		return "Create or Update " + words(singular(kind))
	case "delete":
		return "Delete " + words(singular(kind))
	case "read":
		return "Get " + words(singular(kind))
	case "action":
		if len(parts) < 4 {
			return words(kind)
		}
		return words(kind) + " " + words(singular(parts[len(parts)-3]))
	}
	return operation
}

// words takes a name in camel case apart: "virtualNetworks" is "Virtual Networks".
func words(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte(' ')
		}
		if i == 0 {
			r = unicode.ToUpper(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

func singular(s string) string {
	switch {
	case strings.HasSuffix(s, "ies"):
		return s[:len(s)-3] + "y"
	case strings.HasSuffix(s, "sses"), strings.HasSuffix(s, "xes"):
		return s[:len(s)-2]
	case strings.HasSuffix(s, "s") && !strings.HasSuffix(s, "ss"):
		return s[:len(s)-1]
	}
	return s
}
