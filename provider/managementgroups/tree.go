package managementgroups

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/provider/resources"
	"vauban.dev/store"
)

// placeKind are the documents that say in which group a subscription is, by its lower-case id; one without is in the root.
const placeKind = "managementgroup/subscription"

// place is where a subscription is.
type place struct {
	Group string `json:"group"` // lower-case id
}

// tree is the hierarchy of the tenant.
type tree struct {
	root   *node
	groups map[string]*node // by lower-case id
	subs   map[string]*node // the group of each subscription, by lower-case subscription id (the GUID)
}

type node struct {
	id            arm.ID
	display       string
	parent        *node // nil: the root
	groups        []*node
	subscriptions []subscription
}

type subscription struct{ id, display string }

func (p *Provider) tree(tx *rp.Tx) (*tree, error) { return readTree(tx, p.root) }

func readTree(tx *rp.Tx, root arm.ID) (*tree, error) {
	all, err := rp.List[Group](tx, GroupType, arm.MustParseID("/"))
	if err != nil {
		return nil, err
	}
	t := &tree{groups: map[string]*node{}, subs: map[string]*node{}}
	for _, g := range all {
		t.groups[g.ID.Key()] = &node{id: g.ID, display: g.Properties.DisplayName}
	}
	if t.root = t.groups[root.Key()]; t.root == nil {
		t.root = &node{id: root, display: root.Name()}
		t.groups[root.Key()] = t.root
	}
	for _, g := range all {
		at := t.groups[g.ID.Key()]
		if at == t.root {
			continue
		}
		if parent, err := parentOf(&g.Properties); err == nil {
			at.parent = t.groups[parent.Key()]
		}
		if at.parent == nil {
			at.parent = t.root
		}
		at.parent.groups = append(at.parent.groups, at)
	}
	return t, t.place(tx)
}

// place puts the subscriptions into their groups.
func (t *tree) place(tx *rp.Tx) error {
	places := map[string]string{}
	var bad error
	err := tx.Scan(placeKind, "", "", func(d store.Doc) bool {
		var at place
		if bad = json.Unmarshal(d.Value, &at); bad != nil {
			bad = fmt.Errorf("place of subscription %s: %w", d.Key, bad)
		}
		places[d.Key] = at.Group
		return bad == nil
	})
	if err != nil || bad != nil {
		return cmp.Or(err, bad)
	}
	subs, err := rp.List[resources.Subscription](tx, resources.SubscriptionType, arm.MustParseID("/"))
	if err != nil {
		return err
	}
	for _, s := range subs {
		key := strings.ToLower(s.ID.Name())
		at := t.groups[places[key]]
		if at == nil {
			at = t.root
		}
		at.subscriptions = append(at.subscriptions, subscription{s.ID.Name(), s.Properties.DisplayName})
		t.subs[key] = at
	}
	return nil
}

// fits refuses a parent that would make a circle or a tree that is too deep.
func (t *tree) fits(key string, parent *node) error {
	depth := 1
	for at := parent; at != nil; at = at.parent {
		if at.id.Key() == key {
			return arm.Errorf(http.StatusBadRequest, "BadRequest", "The management group '%s' cannot be moved under '%s', which it encloses.", at.id.Name(), parent.id.Name())
		}
		if at.parent != nil {
			depth++
		}
	}
	if moved := t.groups[key]; moved != nil {
		depth += moved.height()
	}
	if depth > maxDepth {
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "A hierarchy of management groups has %d levels below its root at most; under '%s' it would have %d.", maxDepth, parent.id.Name(), depth)
	}
	return nil
}

// height is how many levels of groups are below n.
func (n *node) height() (most int) {
	for _, g := range n.groups {
		most = max(most, 1+g.height())
	}
	return most
}

func (t *tree) children(n *node, all, groupsOnly bool) (list []child) {
	for _, g := range n.groups {
		c := child{Type: GroupType, ID: g.id.String(), Name: g.id.Name(), DisplayName: g.display}
		if all {
			c.Children = t.children(g, all, groupsOnly)
		}
		list = append(list, c)
	}
	if groupsOnly {
		return list
	}
	for _, s := range n.subscriptions {
		list = append(list, child{Type: "/subscriptions", ID: "/subscriptions/" + s.id, Name: s.id, DisplayName: s.display})
	}
	return list
}

// above are the groups that enclose a scope, nearest first: of a subscription and all in it, or of a management group
// and what is attached to it. The group itself is not among them; what the tree does not know lies in the root.
func (t *tree) above(scope arm.ID) (list []arm.ID) {
	var at *node
	switch sub, group := scope.Subscription(), scope.ManagementGroup(); {
	case sub != "":
		if at = t.subs[strings.ToLower(sub)]; at == nil {
			at = t.root
		}
	case group != "":
		own := t.groups[strings.ToLower(prefix+group)]
		if own == nil {
			at = t.root
		} else {
			at = own.parent
		}
	}
	for ; at != nil; at = at.parent {
		list = append(list, at.id)
	}
	return list
}

// Enclosing returns the management groups that enclose a scope in tx, nearest first: what is inherited there. root is the
// tenant's root group.
func Enclosing(tx *rp.Tx, root, scope arm.ID) ([]arm.ID, error) {
	t, err := readTree(tx, root)
	if err != nil {
		return nil, err
	}
	return t.above(scope), nil
}

// Hierarchy answers authz.Evaluator, and whatever else is inherited, from memory.
type Hierarchy struct{ byScope *rp.Memo[[]string] }

var _ authz.Hierarchy = Hierarchy{}

// Hierarchy of the tenant, as e keeps it.
func (p *Provider) Hierarchy(e *rp.Engine) Hierarchy {
	return Hierarchy{rp.NewMemo(e, func(tx *rp.Tx, scope string) ([]string, error) {
		id, err := arm.ParseID(scope)
		if err != nil {
			return nil, err
		}
		t, err := p.tree(tx)
		if err != nil {
			return nil, err
		}
		var names []string
		for _, g := range t.above(id) {
			names = append(names, g.String())
		}
		return slices.Clip(names), nil
	})}
}

// Within is ManagementGroups in a transaction.
func (h Hierarchy) Within(ctx context.Context, tx store.Tx, scope string) ([]string, error) {
	return h.byScope.See(ctx, tx, strings.ToLower(scope))
}

// ManagementGroups implements authz.Hierarchy.
func (h Hierarchy) ManagementGroups(ctx context.Context, scope string) ([]string, error) {
	return h.byScope.Get(ctx, strings.ToLower(scope))
}
