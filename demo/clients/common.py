"""What the scenario's scripts share: the configuration that `vauban demo` passes in, and the steps."""

import json
import os
import sys
import time

CONFIG = json.loads(os.environ["VAUBAN_DEMO"])
SUB = CONFIG["subscription"]
PARTNER_SUB = CONFIG["partnerSubscription"]
LOCATION = CONFIG["location"]
GROUP = CONFIG["group"]
STORAGE = CONFIG["storage"]
VAULT = CONFIG["vault"]
WORKSPACE = CONFIG["workspace"]
SECURED = CONFIG["secured"]

GROUP_ID = f"/subscriptions/{SUB}/resourceGroups/{GROUP}"
STORAGE_ID = f"{GROUP_ID}/providers/Microsoft.Storage/storageAccounts/{STORAGE}"
VAULT_ID = f"{GROUP_ID}/providers/Microsoft.KeyVault/vaults/{VAULT}"
WORKSPACE_ID = f"{GROUP_ID}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"


class Step:
    """One printed step of the scenario: its name, then its time. The lines are read by `vauban demo`."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.start = time.monotonic()
        return self

    def __exit__(self, kind, error, _):
        took = time.monotonic() - self.start
        state = "ok" if kind is None else "failed"
        print(json.dumps({"step": self.name, "state": state, "seconds": round(took, 3),
                          "error": str(error)[:2000] if error else None}), flush=True)
        return False


def result(**values):
    """Hands values to `vauban demo`, which prints them at the end."""
    print(json.dumps({"result": values}), flush=True)


def credential():
    from azure.identity import DefaultAzureCredential

    # From AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET, as on any machine.
    return DefaultAzureCredential(exclude_managed_identity_credential=True)


def ml_client():
    from azure.ai.ml import MLClient

    return MLClient(credential(), SUB, GROUP, WORKSPACE)


if sys.version_info < (3, 10):
    sys.exit("the scenario's clients need Python 3.10 or newer")
