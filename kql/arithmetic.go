package kql

import "time"

// arithmetic on numbers, times and spans of time; dynamics are taken for what they hold.
func (s *scope) arithmetic(x *binary, l, r Type) (func(a, b any) (any, error), Type, error) {
	bad := func(t Type) bool { return t == String || t == Bool }
	if bad(l) || bad(r) {
		return nil, 0, s.fault(x.place, "Cannot apply operator '%s' to types %s and %s", x.op, l, r)
	}
	typ := Long
	switch {
	case l == Datetime && r == Datetime:
		typ = Timespan
	case l == Datetime || r == Datetime:
		typ = Datetime
	case l == Timespan && r == Timespan && x.op == "/":
		typ = Real
	case l == Timespan || r == Timespan:
		typ = Timespan
	case l == Real || r == Real || l == Dynamic || r == Dynamic:
		typ = Real
	}
	return func(a, b any) (any, error) { return arith(x.op, a, b), nil }, typ, nil
}

func arith(op string, a, b any) any {
	if a == nil || b == nil {
		return nil
	}
	switch x := a.(type) {
	case time.Time:
		switch y := b.(type) {
		case time.Time:
			if op == "-" {
				return x.Sub(y)
			}
		case time.Duration:
			if op == "-" {
				y = -y
			}
			return x.Add(y)
		}
		return nil
	case time.Duration:
		switch y := b.(type) {
		case time.Time:
			return y.Add(x)
		case time.Duration:
			switch op {
			case "+":
				return x + y
			case "-":
				return x - y
			case "/":
				if y != 0 {
					return float64(x) / float64(y)
				}
			}
			return nil
		}
	case int64:
		if y, ok := b.(int64); ok {
			return whole64(op, x, y)
		}
	}
	x, ok := number(a)
	y, ok2 := number(b)
	if !ok || !ok2 {
		return nil
	}
	f, ok := reals(op, x, y)
	if !ok {
		return nil
	}
	_, span := a.(time.Duration)
	if _, other := b.(time.Duration); span || other {
		return time.Duration(f)
	}
	return f
}

func whole64(op string, x, y int64) any {
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	}
	if y == 0 {
		return nil
	}
	if op == "/" {
		return x / y
	}
	return x % y
}

func reals(op string, x, y float64) (float64, bool) {
	switch op {
	case "+":
		return x + y, true
	case "-":
		return x - y, true
	case "*":
		return x * y, true
	case "/":
		return x / y, y != 0
	}
	return 0, false
}
