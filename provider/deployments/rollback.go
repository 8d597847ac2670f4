package deployments

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// rollback deploys again what a failed deployment names in onErrorDeployment: an earlier one as it was.
func (p *Provider) rollback(ctx context.Context, of *record) error {
	var key string
	err := p.engine.Update(ctx, func(tx *rp.Tx) error {
		earlier, err := earlierOf(tx, of)
		if e := arm.AsError(err); e != nil {
			of.OnError.State = failed
			of.Error.Details = append(of.Error.Details, e)
			return put(tx, recordKind, of.key(), of)
		}
		if err != nil {
			return err
		}
		again := *earlier
		again.State, again.Start, again.Changed, again.Error, again.Outputs, again.Resources = accepted, tx.Now, tx.Now, nil, nil, nil
		again.CorrelationID, again.Caller, again.OnError, again.Base, again.Address = of.CorrelationID, of.Caller, nil, of.Base, of.Address
		again.Operation = fmt.Sprintf("%020d", expr.Hash(again.key()+again.CorrelationID+tx.Now.String()))
		c, err := read[content](tx, contentKind, earlier.key())
		if err != nil {
			return err
		}
		if err := erase(tx, earlier.key()); err != nil {
			return err
		}
		if err := put(tx, contentKind, again.key(), c); err != nil {
			return err
		}
		key = again.key()
		of.OnError.State, of.OnError.Deployment = accepted, again.name()
		return errors.Join(put(tx, recordKind, key, &again), put(tx, recordKind, of.key(), of))
	})
	if err == nil && key != "" {
		p.start(key)
	}
	return err
}

// earlierOf is the deployment to go back to.
func earlierOf(tx *rp.Tx, of *record) (*record, error) {
	if of.OnError.Type == "SpecificDeployment" {
		r, err := read[record](tx, recordKind, prefix(of.scope())+lower(of.OnError.Deployment))
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil, arm.Errorf(http.StatusNotFound, "DeploymentNotFound", "Deployment '%s' could not be found.", of.OnError.Deployment)
		case err != nil:
			return nil, err
		case r.State != succeeded || r.key() == of.key():
			return nil, arm.Errorf(http.StatusConflict, "InvalidOnErrorDeployment", "The deployment '%s' cannot be deployed again: it has not succeeded.", of.OnError.Deployment)
		}
		return redeployable(tx, r)
	}
	all, err := scan[record](tx, recordKind, prefix(of.scope()))
	if err != nil {
		return nil, err
	}
	newestFirst(all)
	for _, r := range all {
		if r.State == succeeded && r.key() != of.key() {
			return redeployable(tx, r)
		}
	}
	return nil, arm.Errorf(http.StatusNotFound, "DeploymentNotFound", "There is no successful deployment to go back to.")
}

// redeployable refuses a deployment whose secure parameters are not kept.
func redeployable(tx *rp.Tx, r *record) (*record, error) {
	c, err := read[content](tx, contentKind, r.key())
	if err != nil {
		return nil, err
	}
	if c.Secrets {
		return nil, arm.Errorf(http.StatusConflict, "InvalidOnErrorDeployment", "The deployment '%s' cannot be deployed again: it has parameters of secure types, whose values are not kept.", r.name())
	}
	return r, nil
}
