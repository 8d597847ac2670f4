package main

import (
	"context"
	"strings"

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

func (m mlModels) UpdateModel(ctx context.Context, ws arm.ID, name string, f func(*mlflow.Model, []mlflow.ModelVersion) error) error {
	err := m.p.UpdateModel(ctx, ws, name, func(r *machinelearning.RegisteredModel, vs []machinelearning.RegisteredVersion) error {
		model, versions := mlflow.Model(*r), make([]mlflow.ModelVersion, len(vs))
		for i := range vs {
			versions[i] = mlflow.ModelVersion(vs[i])
		}
		err := f(&model, versions)
		*r = machinelearning.RegisteredModel(model)
		for i := range vs {
			vs[i] = machinelearning.RegisteredVersion(versions[i])
		}
		return err
	})
	if err != nil {
		return err
	}
	return recordModel(ctx, m.engine, ws, name, "")
}

func (m mlModels) DeleteVersion(ctx context.Context, ws arm.ID, name, version string) error {
	if err := m.p.DeleteVersion(ctx, ws, name, version); err != nil {
		return err
	}
	return recordModelGone(ctx, m.engine, ws, name, version)
}

// mlFiles gives MLflow the artifacts of workspaces.
type mlFiles struct {
	blobs      mlBlobs
	workspaces mlWorkspaces
}

// artifactsAtOnce is how many artifacts are read from the blob service at once.
const artifactsAtOnce = 5000

func (f mlFiles) List(ctx context.Context, workspace arm.ID, container string) (out []mlflow.File, err error) {
	ws, err := f.workspaces.Lookup(ctx, workspace)
	if err != nil {
		return nil, err
	}
	prefix := "ExperimentRun/" + container + "/"
	for after, more := "", true; more; {
		page, err := f.blobs.List(ctx, ws.StorageAccount, machinelearning.ArtifactContainer, prefix, after, artifactsAtOnce)
		if err != nil {
			return nil, err
		}
		for _, b := range page {
			out = append(out, mlflow.File{Path: strings.TrimPrefix(b.Name, prefix), Size: b.Size})
			after = b.Name
		}
		more = len(page) == artifactsAtOnce
	}
	return out, nil
}
