package main

import (
	"context"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/dataplane/mlflow"
	"vauban.dev/provider/machinelearning"
)

// mlModels gives MLflow Resource Manager's models: the two sides have the same fields, and do not know
// each other.
type mlModels struct {
	p      *machinelearning.Provider
	engine *rp.Engine // keeps the activity log, which has who registers what
}

func (m mlModels) CreateModel(ctx context.Context, ws arm.ID, in mlflow.Model) (mlflow.Model, error) {
	out, err := m.p.CreateModel(ctx, ws, machinelearning.RegisteredModel(in))
	if err == nil {
		err = recordModel(ctx, m.engine, ws, out.Name, "")
	}
	return mlflow.Model(out), err
}

func (m mlModels) Model(ctx context.Context, ws arm.ID, name string) (mlflow.Model, error) {
	out, err := m.p.Model(ctx, ws, name)
	return mlflow.Model(out), err
}

func (m mlModels) Models(ctx context.Context, ws arm.ID) ([]mlflow.Model, error) {
	list, err := m.p.Models(ctx, ws)
	out := make([]mlflow.Model, len(list))
	for i := range list {
		out[i] = mlflow.Model(list[i])
	}
	return out, err
}

func (m mlModels) CreateVersion(ctx context.Context, ws arm.ID, in mlflow.ModelVersion) (mlflow.ModelVersion, error) {
	out, err := m.p.CreateVersion(ctx, ws, machinelearning.RegisteredVersion(in))
	if err == nil {
		err = recordModel(ctx, m.engine, ws, out.Name, out.Version)
	}
	return mlflow.ModelVersion(out), err
}

func (m mlModels) Version(ctx context.Context, ws arm.ID, name, version string) (mlflow.ModelVersion, error) {
	out, err := m.p.Version(ctx, ws, name, version)
	return mlflow.ModelVersion(out), err
}

func (m mlModels) Versions(ctx context.Context, ws arm.ID, name string) ([]mlflow.ModelVersion, error) {
	list, err := m.p.Versions(ctx, ws, name)
	out := make([]mlflow.ModelVersion, len(list))
	for i := range list {
		out[i] = mlflow.ModelVersion(list[i])
	}
	return out, err
}
