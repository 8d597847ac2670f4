"""The training job: logistic regression on the data set it was given, tracked by MLflow."""

import argparse
import csv

import mlflow
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--c", type=float, default=1.0)
parser.add_argument("--linger", type=float, default=0.0, help="seconds to go on after training, for those who watch")
args = parser.parse_args()

with open(args.data, newline="") as f:
    rows = list(csv.reader(f))[1:]
table = np.array(rows, dtype=float)
x, y = table[:, :-1], table[:, -1].astype(int)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=7, stratify=y)
print(f"{len(x_train)} rows to train, {len(x_test)} to test, {x.shape[1]} features", flush=True)

with mlflow.start_run():
    mlflow.log_param("C", args.c)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=args.c, max_iter=1000)).fit(x_train, y_train)
    scores = model.predict_proba(x_test)[:, 1]
    accuracy, auc = accuracy_score(y_test, scores > 0.5), roc_auc_score(y_test, scores)
    mlflow.log_metric("accuracy", accuracy)
    mlflow.log_metric("auc", auc)
    for step in range(int(args.linger * 10)):
        import time

        time.sleep(0.1)
        mlflow.log_metric("heartbeat", step, step=step)
    import joblib
    import os

    os.makedirs("model", exist_ok=True)
    joblib.dump(model, "model/model.joblib")
    mlflow.log_artifacts("model", "model")
print(f"accuracy {accuracy:.4f}, auc {auc:.4f}", flush=True)
