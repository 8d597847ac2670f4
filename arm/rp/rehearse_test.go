package rp_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/locks"
)

type brick struct {
	On string `json:"on,omitempty"` // the id of what it stands on
}

// TestRehearse: the order of deletions is found by the types' own refusals, and nothing is changed by it.
func TestRehearse(t *testing.T) {
	const group = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001/resourceGroups/wall"
	const other = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001/resourceGroups/other"
	const api = "?api-version=2024-01-01"
	holds := func(ctx context.Context, tx *rp.Tx, r *rp.Resource[brick]) error {
		all, err := rp.List[brick](tx, "Microsoft.Toys/bricks", arm.MustParseID("/"))
		for _, b := range all {
			if strings.EqualFold(b.Properties.On, r.ID.String()) && b.State != arm.Deleting {
				return arm.Errorf(409, "BrickInUse", "Brick %s holds %s.", r.ID.Name(), b.ID)
			}
		}
		return err
	}
	bricks := rp.Of(rp.Type[brick]{Name: "Microsoft.Toys/bricks", Versions: rp.Versions[brick]("2024-01-01"), Release: holds,
		Finalize: func(context.Context, *rp.Resource[brick]) (rp.Result, error) { return rp.Result{}, nil }})
	groups := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Resources/resourceGroups", Versions: rp.Versions[struct{}]("2024-01-01")})
	lock := rp.Of(rp.Type[struct{}]{Name: locks.Type, Kind: rp.Extension, StateProperty: "-", Versions: rp.Versions[struct{}]("2024-01-01")})
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, groups, bricks, lock)
	put := func(in, name, on string) {
		r.Must("PUT", in+"/providers/Microsoft.Toys/bricks/"+name+api, fmt.Sprintf(`{"location":"westeurope","properties":{"on":%q}}`, on))
	}
	at := func(in, name string) string { return in + "/providers/Microsoft.Toys/bricks/" + name }
	for _, g := range []string{group, other} {
		r.Must("PUT", g+api, `{"location":"westeurope"}`)
	}
	put(group, "z", "")
	put(group, "m", at(group, "z"))
	put(group, "a", at(group, "m"))
	rehearse := func(scope string, first ...arm.ID) string {
		t.Helper()
		done, left, err := r.Engine.Rehearse(t.Context(), arm.MustParseID(scope), first...)
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, d := range done {
			s := d.ID.Name()
			if d.Waited != nil {
				s += " after " + d.Waited.Code
			}
			said = append(said, s)
		}
		for _, o := range left {
			said = append(said, "not "+o.ID.Name()+": "+o.Error.Code)
		}
		return strings.Join(said, ", ")
	}
	r.Quiet()
	before := r.Digest()
	if got := rehearse(group); got != "a, m after BrickInUse, z after BrickInUse" {
		t.Error(got)
	}
	if got := rehearse(at(group, "z")); got != "not z: BrickInUse" {
		t.Error(got)
	}
	if got := rehearse(at(group, "z"), arm.MustParseID(at(group, "m")), arm.MustParseID(at(group, "a"))); got != "a, m after BrickInUse, z after BrickInUse" {
		t.Error(got)
	}
	if after := r.Digest(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("a rehearsal has changed the store")
	}
	if _, _, err := r.Engine.Rehearse(t.Context(), arm.MustParseID(at(group, "none"))); arm.AsError(err) == nil {
		t.Error(err)
	}
}

// TestRehearseFindsWhatHolds: what another group has, and locks, stand in the way to the end.
func TestRehearseFindsWhatHolds(t *testing.T) {
	const group = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001/resourceGroups/wall"
	const api = "?api-version=2024-01-01"
	groups := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Resources/resourceGroups", Versions: rp.Versions[struct{}]("2024-01-01")})
	bricks := rp.Of(rp.Type[brick]{Name: "Microsoft.Toys/bricks", Versions: rp.Versions[brick]("2024-01-01"),
		Release: func(context.Context, *rp.Tx, *rp.Resource[brick]) error {
			return arm.Errorf(409, "Glued", "It is glued.")
		}})
	type level struct {
		Level string `json:"level"`
	}
	lock := rp.Of(rp.Type[level]{Name: locks.Type, Kind: rp.Extension, StateProperty: "-", Versions: rp.Versions[level]("2024-01-01")})
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, groups, bricks, lock)
	r.Must("PUT", group+api, `{"location":"westeurope"}`)
	r.Must("PUT", group+"/providers/Microsoft.Toys/bricks/b"+api, `{"location":"westeurope"}`)
	r.Must("PUT", group+"/providers/"+locks.Type+"/keep"+api, `{"properties":{"level":"CanNotDelete"}}`)
	_, left, err := r.Engine.Rehearse(t.Context(), arm.MustParseID(group))
	if err != nil || len(left) != 2 || left[0].Error.Code != "ScopeLocked" || left[1].Error.Code != "Glued" {
		t.Errorf("%+v, %v", left, err)
	}
}

// TestRehearseWrites: drafts are refused as their types refuse them, in whatever order they come, and nothing is written.
func TestRehearseWrites(t *testing.T) {
	const group = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001/resourceGroups/wall"
	const api = "2024-01-01"
	bricks := rp.Of(rp.Type[brick]{Name: "Microsoft.Toys/bricks", Versions: rp.Versions[brick](api),
		Reconcile: func(context.Context, *rp.Resource[brick]) (rp.Result, error) { return rp.Result{}, nil },
		Admit: func(_ context.Context, tx *rp.Tx, _ rp.Op, r, _ *rp.Resource[brick]) error {
			if r.Properties.On == "" {
				return nil
			}
			under, err := rp.Get[brick](tx, arm.MustParseID(r.Properties.On))
			if err == nil && under.State != arm.Succeeded {
				return arm.Errorf(409, "NotDry", "It is not dry.")
			}
			return err
		}})
	groups := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Resources/resourceGroups", Versions: rp.Versions[struct{}](api)})
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, groups, bricks)
	draft := func(name, on string) rp.Draft {
		id := group + "/providers/Microsoft.Toys/bricks/" + name
		if on != "" {
			on = group + "/providers/Microsoft.Toys/bricks/" + on
		}
		return rp.Draft{ID: arm.MustParseID(id), Version: api, Body: fmt.Appendf(nil, `{"location":"westeurope","properties":{"on":%q}}`, on)}
	}
	r.Quiet()
	before := r.Digest()
	refused, err := r.Engine.RehearseWrites(t.Context(), []rp.Draft{
		draft("a", "b"), draft("b", "c"), draft("c", ""), draft("x", "y"), {ID: arm.MustParseID(group), Version: api, Body: []byte(`{"location":"westeurope"}`)},
		{ID: arm.MustParseID(group + "/providers/Microsoft.Toys/bricks/far"), Version: api, Body: []byte(`{"location":"mars"}`)},
	})
	if err != nil || len(refused) != 2 || refused[0].ID.Name() != "far" && refused[1].ID.Name() != "far" {
		t.Errorf("%+v, %v", refused, err)
	}
	for _, x := range refused {
		if want := map[string]string{"x": "ResourceNotFound", "far": "LocationNotAvailableForResourceType"}[x.ID.Name()]; x.Error.Code != want {
			t.Errorf("%s: %v", x.ID, x.Error)
		}
	}
	if after := r.Digest(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("a rehearsal has changed the store")
	}
}
