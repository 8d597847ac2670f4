"""From where the data scientist sits: uploads the data, submits the job, reads what came of it."""

import io
import pathlib
import time

from azure.ai.ml import Input, command
from azure.ai.ml.entities import Environment, Model
from azure.storage.blob import BlobServiceClient

from common import CONFIG, LOCATION, STORAGE, SUB, GROUP, WORKSPACE, WORKSPACE_ID, Step, credential, ml_client, result

ml = ml_client()
with Step("azure-storage-blob: the data set goes to blob storage"):
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer()
    text = io.StringIO()
    text.write(",".join([*(n.replace(" ", "_") for n in frame.feature_names), "target"]) + "\n")
    for row, target in zip(frame.data, frame.target):
        text.write(",".join([*(f"{v:.6g}" for v in row), str(target)]) + "\n")
    blobs = BlobServiceClient(f"https://{STORAGE}.blob.core.windows.net", credential=credential())
    blobs.get_blob_client("data", "breast-cancer.csv").upload_blob(text.getvalue(), overwrite=True)

with Step("azure-ai-ml: an environment and a command job"):
    environment = ml.environments.create_or_update(Environment(name="sklearn", version="1", image=CONFIG["image"]))
    job = ml.jobs.create_or_update(command(
        code=str(pathlib.Path(__file__).parent / "job"),
        command="python train.py --data ${{inputs.data}} --c ${{inputs.c}}",
        inputs={"data": Input(type="uri_file", mode="download",
                              path=f"https://{STORAGE}.blob.core.windows.net/data/breast-cancer.csv"), "c": 1.0},
        environment=f"azureml:sklearn:{environment.version}", compute="cpu-cluster",
        experiment_name="breast-cancer", display_name="logistic regression"))
result(job=job.name)

with Step("the job's log streams back"):
    ml.jobs.stream(job.name)
with Step("the job has completed"):
    job = ml.jobs.get(job.name)
    if job.status != "Completed":
        raise SystemExit(f"job {job.name} is {job.status}")

with Step("mlflow: the run's metrics"):
    import mlflow

    mlflow.set_tracking_uri(ml.workspaces.get(WORKSPACE).mlflow_tracking_uri)
    run = mlflow.get_run(job.name)
    assert run.data.metrics["accuracy"] > 0.9, run.data.metrics
with Step("azure-ai-ml: the model is registered"):
    model = ml.models.create_or_update(Model(
        name="breast-cancer", path=f"azureml://jobs/{job.name}/outputs/artifacts/paths/model/", type="custom_model"))
with Step("the artifacts in blob storage"):
    container = blobs.get_container_client(next(c.name for c in blobs.list_containers() if c.name.startswith("azureml") and "blobstore" not in c.name))
    artifacts = sorted(b.name for b in container.list_blobs(name_starts_with=f"ExperimentRun/dcid.{job.name}/"))
    assert any("/model/" in name for name in artifacts), artifacts

result(status=job.status, metrics=run.data.metrics, parameters=run.data.params, model=f"{model.name}:{model.version}",
       artifacts=[f"{container.container_name}/{name}" for name in artifacts])
