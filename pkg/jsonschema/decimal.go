package jsonschema

import (
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// decimal is an exact number: digits × 10^exp. digits has no zero at either end and is empty for 0. Comparing two decimals
// takes time linear in their digits, for any exponents.
type decimal struct {
	negative bool
	digits   string
	exp      int64
}

// maxExp replaces larger exponents. No text within the limits reaches it by its digits alone.
const maxExp = 1 << 40

// parseDecimal reads a JSON number.
func parseDecimal(text string) decimal {
	var d decimal
	text, d.negative = strings.CutPrefix(text, "-")
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		n, err := strconv.ParseInt(text[i+1:], 10, 64)
		if err != nil || n > maxExp || n < -maxExp {
			n = maxExp
			if strings.HasPrefix(text[i+1:], "-") {
				n = -maxExp
			}
		}
		text, d.exp = text[:i], n
	}
	if whole, fraction, found := strings.Cut(text, "."); found {
		text = whole + fraction
		d.exp -= int64(len(fraction))
	}
	text = strings.TrimLeft(text, "0")
	d.digits = strings.TrimRight(text, "0")
	d.exp += int64(len(text) - len(d.digits))
	if d.digits == "" {
		return decimal{}
	}
	return d
}

// EqualNumbers reports whether two JSON numbers, such as 1.50 and 15e-1, have exactly the same value.
func EqualNumbers(a, b string) bool { return parseDecimal(a).cmp(parseDecimal(b)) == 0 }

func (d decimal) integer() bool { return d.digits == "" || d.exp >= 0 }

func (d decimal) sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.negative:
		return -1
	}
	return 1
}

func (d decimal) cmp(e decimal) int {
	if s, t := d.sign(), e.sign(); s != t || s == 0 {
		return s - t
	}
	order := 0
	if m, n := int64(len(d.digits))+d.exp, int64(len(e.digits))+e.exp; m != n {
		order = 1
		if m < n {
			order = -1
		}
	} else {
		order = strings.Compare(d.digits, e.digits)
	}
	if d.negative {
		return -order
	}
	return order
}

// multipleOf reports whether d is an integer times m, which is positive. m comes from a schema and is short.
func (d decimal) multipleOf(m decimal) bool {
	if d.digits == "" {
		return true
	}
	if d.exp < m.exp {
		return false // m has a factor 10 that d lacks
	}
	if len(m.digits) <= 18 {
		by, err := strconv.ParseUint(m.digits, 10, 64)
		return err == nil && d.remainder(m.exp, by) == 0
	}
	by, ok := new(big.Int).SetString(m.digits, 10)
	if !ok {
		return false
	}
	rest, chunk := new(big.Int), new(big.Int)
	ten := big.NewInt(10)
	const width = 512
	for text := d.digits; text != ""; {
		n := min(len(text), width)
		chunk.SetString(text[:n], 10)
		rest.Mul(rest, new(big.Int).Exp(ten, big.NewInt(int64(n)), nil)).Add(rest, chunk).Mod(rest, by)
		text = text[n:]
	}
	return rest.Mul(rest, chunk.Exp(ten, big.NewInt(d.exp-m.exp), by)).Mod(rest, by).Sign() == 0
}

// remainder is d.digits × 10^(d.exp-exp) modulo by.
func (d decimal) remainder(exp int64, by uint64) uint64 {
	mul := func(a, b uint64) uint64 {
		hi, lo := bits.Mul64(a, b)
		return bits.Rem64(hi, lo, by)
	}
	rest := uint64(0)
	for i := range len(d.digits) {
		rest = (mul(rest, 10) + uint64(d.digits[i]-'0')) % by
	}
	power := 10 % by
	for n := d.exp - exp; n > 0; n >>= 1 {
		if n&1 == 1 {
			rest = mul(rest, power)
		}
		power = mul(power, power)
	}
	return rest % by
}

// appendTo writes the canonical form of the number: equal numbers have the same form.
func (d decimal) appendTo(b []byte) []byte {
	if d.negative {
		b = append(b, '-')
	}
	b = append(b, d.digits...)
	b = append(b, 'e')
	return strconv.AppendInt(b, d.exp, 10)
}

func (d decimal) String() string {
	if d.digits == "" {
		return "0"
	}
	text := d.digits
	switch point := int64(len(text)) + d.exp; {
	case d.exp >= 0 && d.exp <= 20:
		text += strings.Repeat("0", int(d.exp))
	case d.exp >= 0 || point < -20:
		text += "e" + strconv.FormatInt(d.exp, 10)
	case point > 0:
		text = text[:point] + "." + text[point:]
	default:
		text = "0." + strings.Repeat("0", int(-point)) + text
	}
	if d.negative {
		return "-" + text
	}
	return text
}
