package jsonschema

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/net/idna"
)

// maxFormat is the limit of strings that a format is checked on, in bytes. No valid value of a format is longer.
const maxFormat = 64 << 10

// format is the check of one format. check is nil for formats that describe a value and do not constrain it.
type format struct {
	name    string
	numbers bool // applies to numbers; else to strings
	check   func(s string) error
}

// describing are formats of OpenAPI, Pydantic and zod without a syntax to check.
var describing = []string{
	"binary", "password", "path", "file-path", "directory-path", "multi-host-uri", "float", "double", "emoji", "nanoid", "cuid",
	"cuid2", "xid", "ksuid", "text", "textarea", "markdown", "html", "color", "phone", "decimal", "byte-array",
}

var shapes = map[string]*regexp.Regexp{
	"ulid": regexp.MustCompile(`^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$`),
	"e164": regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`),
	"jwt":  regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$`),
	"guid": regexp.MustCompile(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`),
}

// examples show a model the syntax of a format.
var examples = map[string]string{
	"date": "2024-02-29", "time": "14:30:00Z", "date-time": "2024-02-29T14:30:00Z", "duration": "P3DT4H", "email": "name@example.com",
	"uri": "https://example.com/path", "uuid": "123e4567-e89b-42d3-a456-426614174000", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
	"hostname": "www.example.com", "e164": "+14155550123",
}

// library are the formats that the library checks.
var library = []string{
	"date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uri-reference", "iri", "iri-reference",
	"uri-template", "uuid", "json-pointer", "relative-json-pointer",
}

var formats = sync.OnceValue(func() map[string]*format {
	all := map[string]*format{}
	for name, check := range libraryFormats() {
		all[name] = &format{name: name, check: check}
	}
	for name, re := range shapes {
		all[name] = &format{name: name, check: func(s string) error {
			if !re.MatchString(s) {
				return errors.New("has another form")
			}
			return nil
		}}
	}
	for _, name := range describing {
		all[name] = &format{name: name}
	}
	for name, check := range map[string]func(string) error{
		"regex":         func(s string) error { _, err := compilePattern(s); return err },
		"idn-email":     idnEmail,
		"idn-hostname":  idnHostname,
		"byte":          base64Text(base64.StdEncoding),
		"base64":        base64Text(base64.StdEncoding),
		"base64url":     func(s string) error { return base64Text(base64.RawURLEncoding)(strings.TrimRight(s, "=")) },
		"json-string":   jsonText,
		"ipvanyaddress": func(s string) error { _, err := netip.ParseAddr(s); return err },
	} {
		all[name] = &format{name: name, check: check}
	}
	for _, name := range []string{"ipv4network", "ipv6network", "ipvanynetwork", "ipv4interface", "ipv6interface", "ipvanyinterface", "cidrv4", "cidrv6"} {
		all[name] = &format{name: name, check: network(name)}
	}
	for version := byte('1'); version <= '8'; version++ {
		uuid := all["uuid"].check
		all["uuid"+string(version)] = &format{name: "uuid" + string(version), check: func(s string) error {
			if err := uuid(s); err != nil {
				return err
			}
			if s[14] != version {
				return errors.New("has another version")
			}
			return nil
		}}
	}
	for name, bits := range map[string]decimal{"int32": parseDecimal("2147483648"), "int64": parseDecimal("9223372036854775808")} {
		all[name] = &format{name: name, numbers: true, check: func(s string) error {
			n := parseDecimal(s)
			if lowest := (decimal{true, bits.digits, bits.exp}); !n.integer() || n.cmp(bits) >= 0 || n.cmp(lowest) < 0 {
				return errors.New("is out of range")
			}
			return nil
		}}
	}
	return all
})

// libraryFormats takes the checks from a compiled schema, the only place where the library exports them.
var libraryFormats = sync.OnceValue(func() map[string]func(string) error {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	branches := make([]any, len(library))
	for i, name := range library {
		branches[i] = map[string]any{"format": name}
	}
	out := map[string]func(string) error{}
	if err := c.AddResource("formats.json", map[string]any{"anyOf": branches}); err != nil {
		panic(err) // the schema above is a constant
	}
	for i, s := range c.MustCompile("formats.json").AnyOf {
		out[library[i]] = func(v string) error { return s.Format.Validate(v) }
	}
	return out
})

func formatNames() []string { return slices.Sorted(maps.Keys(formats())) }

func base64Text(e *base64.Encoding) func(string) error {
	return func(s string) error { _, err := e.DecodeString(s); return err }
}

func jsonText(s string) error {
	if !json.Valid([]byte(s)) {
		return errors.New("is not JSON")
	}
	return nil
}

func network(name string) func(string) error {
	return func(s string) error {
		if !strings.Contains(s, "/") { // an address is a network of one
			s += "/32"
			if strings.Contains(s, ":") {
				s = strings.TrimSuffix(s, "/32") + "/128"
			}
		}
		prefix, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return err
		case strings.Contains(name, "v4") && !prefix.Addr().Is4(), strings.Contains(name, "v6") && prefix.Addr().Is4():
			return errors.New("has another version")
		}
		return nil
	}
}

func idnHostname(s string) error {
	ascii, err := idna.Lookup.ToASCII(s)
	if err != nil || ascii == "" {
		return errors.New("is not a host name")
	}
	return libraryFormats()["hostname"](ascii)
}

func idnEmail(s string) error {
	local, host, found := strings.Cut(s, "@")
	if !found || local == "" {
		return errors.New("has no part before or after @")
	}
	return idnHostname(host)
}
