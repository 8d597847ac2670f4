package shrink

import (
	"reflect"
	"slices"
	"testing"
)

type part struct {
	Name  string
	Parts []int
	Flag  bool
}

type whole struct {
	Parts []part
	ByID  map[string]*part
}

func TestValue(t *testing.T) {
	shared := []int{1, 2, 3, 4, 5, 6, 7, 8}
	w := &whole{Parts: []part{{"a", shared, true}, {"b", shared, false}, {"c", nil, true}}, ByID: map[string]*part{"x": {"x", []int{1, 7}, true}, "y": {}}}
	asked := 0
	Value(w, 1000, func() bool {
		asked++
		return slices.ContainsFunc(w.Parts, func(p part) bool { return slices.Contains(p.Parts, 5) }) && w.ByID["x"] != nil && slices.Contains(w.ByID["x"].Parts, 7)
	})
	want := &whole{Parts: []part{{Parts: []int{5}}}, ByID: map[string]*part{"x": {Parts: []int{7}}}}
	if !reflect.DeepEqual(w, want) {
		t.Errorf("left %+v, %+v", w, w.ByID["x"])
	}
	if !slices.Equal(shared, []int{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("what others share became %v", shared)
	}
	if asked > 200 {
		t.Errorf("asked %d times", asked)
	}
}

func TestLimit(t *testing.T) {
	list, asked := make([]int, 1000), 0
	Value(&list, 10, func() bool { asked++; return true })
	if asked > 10 {
		t.Errorf("asked %d times, 10 were allowed", asked)
	}
}
