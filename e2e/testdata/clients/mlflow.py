"""What a team does with MLflow 2 or 3 in a workspace of the region: runs, models, the registry; with 3 also logged models and traces."""

import os
import sys
import uuid

# A script of this name is not the library of this name.
sys.path.pop(0)
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"

import mlflow
from mlflow import MlflowClient
from mlflow.data.numpy_dataset import from_numpy
from mlflow.exceptions import MlflowException
import numpy
from sklearn.linear_model import LogisticRegression

three = mlflow.__version__.startswith("3.")
mlflow.set_tracking_uri(sys.argv[1])
client = MlflowClient()
mlflow.set_experiment("e" + uuid.uuid4().hex)


def refused(call, *args, **kwargs):
    """What a call that must fail says."""
    try:
        call(*args, **kwargs)
    except MlflowException as e:
        return str(e)
    raise AssertionError(f"{call.__name__}{args} was taken")


with mlflow.start_run(run_name="first") as run:
    mlflow.log_param("depth", 3)
    for step, loss in enumerate([0.75, 0.5]):
        mlflow.log_metric("loss", loss, step=step)
    mlflow.set_tags({"team": "credit"})
    mlflow.log_text("hello", "notes/n.txt")
    mlflow.log_dict({"a": 1}, "d.json")
    mlflow.log_input(from_numpy(numpy.zeros((2, 2)), name="zeros"), context="training")
    with mlflow.start_run(nested=True) as child:
        mlflow.log_metric("loss", 0.25)
got = client.get_run(run.info.run_id)
assert (got.info.run_name, got.info.status, got.data.params, got.data.metrics) == ("first", "FINISHED", {"depth": "3"}, {"loss": 0.5}), got
assert [m.value for m in client.get_metric_history(run.info.run_id, "loss")] == [0.75, 0.5]
assert sorted(f.path for f in client.list_artifacts(run.info.run_id)) == ["d.json", "notes"]
assert [f.path for f in client.list_artifacts(run.info.run_id, "notes")] == ["notes/n.txt"]
with open(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="notes/n.txt")) as f:
    assert f.read() == "hello"


def found(text, **more):
    return list(mlflow.search_runs(filter_string=text, **more).run_id)


assert found("dataset.name = 'zeros' AND dataset.context IN ('training')") == [run.info.run_id]
assert found(f"tags.mlflow.parentRunId = '{run.info.run_id}'") == [child.info.run_id]
assert found("params.depth = '3' AND tags.team LIKE 'cre%'") == [run.info.run_id]
assert found("metrics.loss > 0", order_by=["metrics.loss ASC"]) == [child.info.run_id, run.info.run_id]

mlflow.sklearn.autolog(log_models=False)
with mlflow.start_run() as tracked:
    classifier = LogisticRegression().fit([[0], [1]], [0, 1])
    at = {"name": "classifier"} if three else {"artifact_path": "classifier"}
    logged = mlflow.sklearn.log_model(classifier, input_example=[[0]], **at)
assert "training_accuracy_score" in client.get_run(tracked.info.run_id).data.metrics
assert list(mlflow.sklearn.load_model(logged.model_uri).predict([[1]])) == [1]

name = "m" + uuid.uuid4().hex
version = mlflow.register_model(logged.model_uri, name).version
client.set_registered_model_alias(name, "champion", version)
client.set_model_version_tag(name, version, "k", "v")
client.update_model_version(name, version, "a description")
assert client.get_model_version(name, version).tags == {"k": "v"}
client.transition_model_version_stage(name, version, "Production")
assert client.get_latest_versions(name, ["Production"])[0].version == version
assert [m.name for m in client.search_registered_models(f"name = '{name}'")] == [name]
assert list(mlflow.sklearn.load_model(f"models:/{name}@champion").predict([[1]])) == [1]
assert "not renamed, as in Azure" in refused(client.rename_registered_model, name, "other")
assert "not deleted as a whole, as in Azure" in refused(client.delete_registered_model, name)
client.delete_model_version(name, version)
assert list(client.search_registered_models(f"name = '{name}'")) == []
client.delete_run(run.info.run_id)
assert found("params.depth = '3'") == []
client.restore_run(run.info.run_id)
assert found("params.depth = '3'") == [run.info.run_id]

if three:
    assert found("params.depth IS NULL AND metrics.loss > 0") == [child.info.run_id]
    assert [m.model_id for m in mlflow.search_logged_models(output_format="list")] == [logged.model_id]

    @mlflow.trace
    def ask(x):
        return x + 1

    ask(1)
    trace = mlflow.get_trace(mlflow.get_last_active_trace_id())
    assert trace.data.spans[0].name == "ask"
    assert [t.info.trace_id for t in mlflow.search_traces(return_type="list")] == [trace.info.trace_id]
print("tracked")
