package locks_test

import (
	"fmt"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/locks"
)

const (
	sub     = "/subscriptions/s"
	rg      = sub + "/resourceGroups/rg"
	vnet    = rg + "/providers/Microsoft.Network/virtualNetworks/v"
	subnet  = vnet + "/subnets/one"
	account = rg + "/providers/Microsoft.Storage/storageAccounts/acct"
	grant   = account + "/providers/Microsoft.Authorization/roleAssignments/x"
	lock    = "/providers/Microsoft.Authorization/locks/"
)

func set(specs ...string) *locks.Set {
	var all []locks.Lock
	for _, s := range specs {
		level, id, _ := strings.Cut(s, " ")
		all = append(all, locks.Lock{ID: arm.MustParseID(id), Level: locks.Level(level)})
	}
	return locks.NewSet(all)
}

func TestHolding(t *testing.T) {
	const no, ro = "CanNotDelete ", "ReadOnly "
	for what, c := range map[string]struct {
		set           *locks.Set
		target        string
		write, delete string // names of the locks that hold
	}{
		"none":                         {set(), vnet, "", ""},
		"of deletion, at it":           {set(no + vnet + lock + "a"), vnet, "", "a"},
		"read-only, at it":             {set(ro + vnet + lock + "a"), vnet, "a", "a"},
		"in other letters":             {set(ro + strings.ToUpper(vnet) + lock + "a"), vnet, "a", "a"},
		"of the group":                 {set(ro + rg + lock + "a"), subnet, "a", "a"},
		"of the subscription":          {set(no + sub + lock + "a"), subnet, "", "a"},
		"the group itself":             {set(ro + rg + lock + "a"), rg, "a", "a"},
		"of another group":             {set(ro + sub + "/resourceGroups/rg2" + lock + "a"), vnet, "", ""},
		"of a longer name":             {set(ro + vnet + "10" + lock + "a"), vnet, "", ""},
		"of a shorter name":            {set(ro + vnet + lock + "a"), vnet + "10", "", ""},
		"on a child":                   {set(ro + subnet + lock + "a"), vnet, "", "a"},
		"on a child, the whole group":  {set(no + subnet + lock + "a"), rg, "", "a"},
		"on a sibling":                 {set(ro + account + lock + "a"), vnet, "", ""},
		"of what a role is given on":   {set(no + account + lock + "a"), grant, "", "a"},
		"all of them, nearest first":   {set(no+sub+lock+"c", ro+vnet+lock+"a", no+rg+lock+"b", no+subnet+lock+"d"), vnet, "a", "a b c d"},
		"two at one scope":             {set(no+vnet+lock+"a", ro+vnet+lock+"b"), vnet, "b", "a b"},
		"a lock":                       {set(ro + rg + lock + "a"), rg + lock + "a", "", ""},
		"a lock elsewhere in there":    {set(ro + rg + lock + "a"), vnet + lock + "b", "", ""},
		"a level that nobody knows":    {set("Strange " + rg + lock + "a"), vnet, "a", "a"},
		"a container that is no type":  {set(ro + account + lock + "a"), account + "/blobServices/default/containers/c", "a", "a"},
		"the root, which holds nobody": {set(ro + rg + lock + "a"), "/", "", "a"},
	} {
		for verb, want := range map[locks.Verb]string{locks.Write: c.write, locks.Delete: c.delete} {
			var names []string
			for _, l := range c.set.Holding(verb, arm.MustParseID(c.target)) {
				names = append(names, l.ID.Name())
			}
			if got := strings.Join(names, " "); got != want {
				t.Errorf("%s: %s is held by %q, want %q", what, verb, got, want)
			}
		}
	}
}

func TestMessage(t *testing.T) {
	err := set("CanNotDelete "+rg+lock+"keep", "CanNotDelete "+rg+lock+"too").Check(locks.Delete, arm.MustParseID(vnet))
	e := arm.AsError(err)
	want := "The scope '" + vnet + "' cannot perform delete operation because following scope(s) are locked: '" + rg + "'. Please remove the lock and try again. Locked by: 'keep' (CanNotDelete) at '" + rg + "', 'too' (CanNotDelete) at '" + rg + "'."
	if e == nil || e.Status != 409 || e.Code != "ScopeLocked" || e.Message != want {
		t.Errorf("%v", err)
	}
	if err := set().Check(locks.Delete, arm.MustParseID(vnet)); err != nil {
		t.Error(err)
	}
	var none *locks.Set
	if err := none.Check(locks.Delete, arm.MustParseID(vnet)); err != nil {
		t.Error(err)
	}
}

// TestOracle compares Holding with a search of all locks, on every pair of scopes of a small tree.
func TestOracle(t *testing.T) {
	scopes := []string{sub, rg, rg + "2", vnet, vnet + "1", subnet, account, grant}
	var all []locks.Lock
	for i, s := range scopes {
		for j, level := range []locks.Level{locks.CanNotDelete, locks.ReadOnly} {
			all = append(all, locks.Lock{ID: arm.MustParseID(s + lock + fmt.Sprint(i, "-", j)), Level: level})
		}
	}
	for chosen := range 1 << len(all) {
		if chosen%7 != 0 { // a spread of the subsets
			continue
		}
		var some []locks.Lock
		for i, l := range all {
			if chosen>>i&1 == 1 {
				some = append(some, l)
			}
		}
		s := locks.NewSet(some)
		for _, text := range scopes {
			target := arm.MustParseID(text)
			for _, v := range []locks.Verb{locks.Write, locks.Delete} {
				want := 0
				for _, l := range some {
					at := l.ID.Scope()
					if target.Within(at) && (v == locks.Delete || l.Level == locks.ReadOnly) || v == locks.Delete && at.Key() != target.Key() && at.Within(target) {
						want++
					}
				}
				if got := s.Holding(v, target); len(got) != want {
					t.Fatalf("%s %s: %d locks hold, want %d of %v", v, text, len(got), want, some)
				}
			}
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	var all []locks.Lock
	for i := range 1000 {
		all = append(all, locks.Lock{ID: arm.MustParseID(fmt.Sprintf("%s/resourceGroups/g%d%sa", sub, i, lock)), Level: locks.ReadOnly})
	}
	s, target := locks.NewSet(all), arm.MustParseID(subnet)
	b.ReportAllocs()
	for b.Loop() {
		if s.Check(locks.Delete, target) != nil {
			b.Fatal("held")
		}
	}
}

func FuzzHolding(f *testing.F) {
	f.Add(rg, subnet)
	f.Fuzz(func(t *testing.T, scope, target string) {
		id, err := arm.ParseID(target)
		at, bad := arm.ParseID(strings.TrimSuffix(scope, "/") + lock + "a")
		if err != nil || bad != nil {
			return
		}
		s := locks.NewSet([]locks.Lock{{ID: at, Level: locks.ReadOnly}})
		held := len(s.Holding(locks.Write, id)) > 0
		isLock := strings.EqualFold(id.Type().String(), locks.Type)
		if want := id.Within(at.Scope()) && at.Scope().Key() != "/" && !isLock; held != want {
			t.Errorf("%q under %q: held %v, want %v", target, scope, held, want)
		}
	})
}
