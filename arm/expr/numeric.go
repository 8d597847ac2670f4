package expr

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
)

func numeric() []Func {
	return []Func{
		arithmetic("add", addInt, func(a, b float64) float64 { return a + b }),
		arithmetic("sub", subInt, func(a, b float64) float64 { return a - b }),
		arithmetic("mul", mulInt, func(a, b float64) float64 { return a * b }),
		arithmetic("div", divInt, func(a, b float64) float64 { return a / b }),
		arithmetic("mod", modInt, math.Mod),
		{Name: "int", Min: 1, Max: 1, Call: callInt},
		{Name: "float", Min: 1, Max: 1, Call: callFloat},
		{Name: "min", Min: 1, Max: -1, Call: func(c *Call) (any, error) { return c.extreme(-1) }},
		{Name: "max", Min: 1, Max: -1, Call: func(c *Call) (any, error) { return c.extreme(1) }},
		{Name: "range", Min: 2, Max: 2, Call: callRange},
	}
}

func arithmetic(name string, ints func(a, b int64) (int64, bool), floats func(a, b float64) float64) Func {
	return Func{Name: name, Min: 2, Max: 2, Call: func(c *Call) (any, error) {
		a, ok := c.Args[0].(int64)
		b, ok2 := c.Args[1].(int64)
		if ok && ok2 {
			if b == 0 && (name == "div" || name == "mod") {
				return nil, c.Fail("the divisor is zero.")
			}
			n, ok := ints(a, b)
			if !ok {
				return nil, errorf("The template language function '%s' overflowed with the operants '%d' and '%d'. Please see https://aka.ms/arm-functions for usage details.", name, a, b)
			}
			return n, nil
		}
		for i := range c.Args {
			if _, ok := float(c.Args[i]); !ok {
				return nil, c.wrong(i, "Integer")
			}
		}
		x, _ := float(c.Args[0])
		y, _ := float(c.Args[1])
		f := floats(x, y)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, c.Fail("the result is not a number.")
		}
		return f, nil
	}}
}

func addInt(a, b int64) (int64, bool) { s := a + b; return s, (s > a) == (b > 0) }
func subInt(a, b int64) (int64, bool) { d := a - b; return d, (d < a) == (b > 0) }

func mulInt(a, b int64) (int64, bool) {
	if a == 0 || b == 0 {
		return 0, true
	}
	abs := func(n int64) uint64 {
		if n < 0 {
			return -uint64(n)
		}
		return uint64(n)
	}
	hi, lo := bits.Mul64(abs(a), abs(b))
	if (a < 0) != (b < 0) {
		return -int64(lo), hi == 0 && lo <= 1<<63
	}
	return int64(lo), hi == 0 && lo < 1<<63
}

func divInt(a, b int64) (int64, bool) { return a / b, a != math.MinInt64 || b != -1 }

func modInt(a, b int64) (int64, bool) {
	if b == -1 {
		return 0, true
	}
	return a % b, true
}

func callInt(c *Call) (any, error) {
	switch v := c.Args[0].(type) {
	case int64:
		return v, nil
	case float64:
		if math.Abs(v) < 1<<62 {
			return int64(math.RoundToEven(v)), nil // as Convert.ToInt64 does
		}
	case string:
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
			return n, nil
		}
	}
	return nil, errorf("The template language function 'int' cannot convert provided value '%s' to integer value. Please see https://aka.ms/arm-function-int for usage details.", shown(c.Args[0]))
}

func callFloat(c *Call) (any, error) {
	switch v := c.Args[0].(type) {
	case int64:
		return float64(v), nil
	case float64:
		return v, nil
	case string:
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f, nil
		}
	}
	return nil, errorf("The template language function 'float' cannot convert provided value '%s' to a number. Please see https://aka.ms/arm-functions for usage details.", shown(c.Args[0]))
}

// extreme is the least or greatest of its arguments, or of the elements of the only one.
func (c *Call) extreme(direction int) (any, error) {
	list := c.Args
	if len(list) == 1 {
		if of, ok := list[0].([]any); ok {
			list = of
		}
	}
	if len(list) == 0 {
		return nil, c.Fail("the array must not be empty.")
	}
	best := list[0]
	for _, v := range list {
		if _, ok := v.(int64); !ok {
			return nil, c.Fail("all values must be of type 'Integer', one is of type '%s'.", TypeOf(v))
		}
		if n, _ := order(v, best); n == direction {
			best = v
		}
	}
	return best, nil
}

func callRange(c *Call) (any, error) {
	start, err := c.Int(0)
	if err != nil {
		return nil, err
	}
	count, err := c.Int(1)
	if err != nil {
		return nil, err
	}
	last, fits := addInt(start, count)
	if count < 0 || count > maxRange || !fits || last > math.MaxInt32 {
		return nil, c.Fail("the count must be between '0' and '%d', and start and count together no more than '%d'.", maxRange, math.MaxInt32)
	}
	if err := c.Spend(int(count)); err != nil {
		return nil, err
	}
	out := make([]any, count)
	for i := range out {
		out[i] = start + int64(i)
	}
	return out, nil
}
