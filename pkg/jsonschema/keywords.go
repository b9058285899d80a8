package jsonschema

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// draft is a version of JSON Schema. Later drafts compare as greater.
type draft int

const (
	draft04 draft = iota + 4
	draft06 draft = iota + 5
	draft07
	draft2019 draft = 2019
	draft2020 draft = 2020
)

var drafts = map[string]draft{
	"json-schema.org/draft-04/schema":                  draft04,
	"json-schema.org/draft-06/schema":                  draft06,
	"json-schema.org/draft-07/schema":                  draft07,
	"json-schema.org/draft/2019-09/schema":             draft2019,
	"json-schema.org/draft/2020-12/schema":             draft2020,
	"json-schema.org/schema":                           draft2020,
	"spec.openapis.org/oas/3.1/dialect/base":           draft2020,
	"spec.openapis.org/oas/3.1/dialect/2024-11-10":     draft2020,
	"spec.openapis.org/oas/3.1/schema-base/2022-10-07": draft2020,
}

func draftOf(uri string) (draft, bool) {
	uri = strings.TrimSuffix(uri, "#")
	_, rest, _ := strings.Cut(uri, "://")
	d, ok := drafts[rest]
	return d, ok
}

func (d draft) String() string {
	switch d {
	case draft04:
		return "draft-04"
	case draft06:
		return "draft-06"
	case draft07:
		return "draft-07"
	case draft2019:
		return "draft 2019-09"
	}
	return "draft 2020-12"
}

// shape is the required form of a keyword's value.
type shape int

const (
	free shape = iota
	aSchema
	listOfSchemas
	mapOfSchemas
	schemaOrList   // items in drafts before 2020-12
	schemasOrLists // dependencies
	typeNames
	values // enum
	aNumber
	aPositive
	aCount
	aBoolean
	numberOrBoolean // exclusiveMinimum and exclusiveMaximum
	aString
	strings1 // a list of strings
	mapOfStrings
	aPattern
	mapOfPatterns
	aFormat
)

// keyword describes one keyword of JSON Schema.
type keyword struct {
	shape   shape
	first   draft // first draft with it
	last    draft
	asserts bool   // can refuse a value, itself or through its schemas
	advice  string // for drafts without it
}

var keywords = map[string]keyword{
	"$schema":     {aString, draft04, draft2020, false, ""},
	"$id":         {aString, draft06, draft2020, false, ""},
	"id":          {aString, draft04, draft04, false, "use $id"},
	"$ref":        {aString, draft04, draft2020, true, ""},
	"$anchor":     {aString, draft2019, draft2020, false, "use $id with a fragment"},
	"$comment":    {free, draft04, draft2020, false, ""},
	"$vocabulary": {free, draft2019, draft2020, false, ""},
	"$defs":       {mapOfSchemas, draft04, draft2020, false, ""},
	"definitions": {mapOfSchemas, draft04, draft2020, false, ""},

	"$dynamicRef":      {aString, draft2020, draft2020, true, "use $ref"},
	"$dynamicAnchor":   {aString, draft2020, draft2020, false, "use $defs"},
	"$recursiveRef":    {aString, draft2019, draft2019, true, "use $ref"},
	"$recursiveAnchor": {aBoolean, draft2019, draft2019, false, "leave it out"},

	"type":  {typeNames, draft04, draft2020, true, ""},
	"enum":  {values, draft04, draft2020, true, ""},
	"const": {free, draft06, draft2020, true, "use enum with one value"},

	"allOf": {listOfSchemas, draft04, draft2020, true, ""},
	"anyOf": {listOfSchemas, draft04, draft2020, true, ""},
	"oneOf": {listOfSchemas, draft04, draft2020, true, ""},
	"not":   {aSchema, draft04, draft2020, true, ""},
	"if":    {aSchema, draft07, draft2020, true, "use anyOf"},
	"then":  {aSchema, draft07, draft2020, true, "use anyOf"},
	"else":  {aSchema, draft07, draft2020, true, "use anyOf"},

	"properties":            {mapOfSchemas, draft04, draft2020, true, ""},
	"patternProperties":     {mapOfPatterns, draft04, draft2020, true, ""},
	"additionalProperties":  {aSchema, draft04, draft2020, true, ""},
	"propertyNames":         {aSchema, draft06, draft2020, true, "use patternProperties with additionalProperties: false"},
	"unevaluatedProperties": {aSchema, draft2019, draft2020, true, "use additionalProperties"},
	"required":              {strings1, draft04, draft2020, true, ""},
	"minProperties":         {aCount, draft04, draft2020, true, ""},
	"maxProperties":         {aCount, draft04, draft2020, true, ""},
	"dependencies":          {schemasOrLists, draft04, draft2020, true, ""},
	"dependentRequired":     {mapOfStrings, draft2019, draft2020, true, "use dependencies"},
	"dependentSchemas":      {mapOfSchemas, draft2019, draft2020, true, "use dependencies"},

	"items":            {schemaOrList, draft04, draft2020, true, ""},
	"prefixItems":      {listOfSchemas, draft2020, draft2020, true, "use items with a list"},
	"additionalItems":  {aSchema, draft04, draft2019, true, "use prefixItems, and items for all that follow"},
	"unevaluatedItems": {aSchema, draft2019, draft2020, true, "use additionalItems"},
	"contains":         {aSchema, draft06, draft2020, true, "use not with items"},
	"minContains":      {aCount, draft2019, draft2020, true, "use contains"},
	"maxContains":      {aCount, draft2019, draft2020, true, "leave it out"},
	"minItems":         {aCount, draft04, draft2020, true, ""},
	"maxItems":         {aCount, draft04, draft2020, true, ""},
	"uniqueItems":      {aBoolean, draft04, draft2020, true, ""},

	"minLength": {aCount, draft04, draft2020, true, ""},
	"maxLength": {aCount, draft04, draft2020, true, ""},
	"pattern":   {aPattern, draft04, draft2020, true, ""},
	"format":    {aFormat, draft04, draft2020, true, ""},

	"minimum":          {aNumber, draft04, draft2020, true, ""},
	"maximum":          {aNumber, draft04, draft2020, true, ""},
	"exclusiveMinimum": {numberOrBoolean, draft04, draft2020, true, ""},
	"exclusiveMaximum": {numberOrBoolean, draft04, draft2020, true, ""},
	"multipleOf":       {aPositive, draft04, draft2020, true, ""},

	"nullable": {aBoolean, draft04, draft2020, false, ""}, // of OpenAPI; translated first

	"title": {free, draft04, draft2020, false, ""}, "description": {free, draft04, draft2020, false, ""},
	"default": {free, draft04, draft2020, false, ""}, "examples": {free, draft04, draft2020, false, ""},
	"readOnly": {aBoolean, draft04, draft2020, false, ""}, "writeOnly": {aBoolean, draft04, draft2020, false, ""},
	"deprecated": {free, draft04, draft2020, false, ""}, "contentEncoding": {aString, draft04, draft2020, false, ""},
	"contentMediaType": {aString, draft04, draft2020, false, ""}, "contentSchema": {free, draft04, draft2020, false, ""},
}

// annotations are names that other tools use for descriptions without a constraint.
var annotations = map[string]bool{
	"example": true, "discriminator": true, "xml": true, "externalDocs": true, // OpenAPI
	"markdownDescription": true, "enumDescriptions": true, "markdownEnumDescriptions": true, "enumNames": true,
	"defaultSnippets": true, "deprecationMessage": true, "errorMessage": true, "doNotSuggest": true,
	"propertyOrdering": true, "propertyOrder": true, "order": true, "tsType": true, "tsEnumNames": true, "javaType": true,
	"units": true, "unit": true, "label": true, "placeholder": true, "version": true, "author": true, "source": true, "note": true, "notes": true, "meta": true, "metadata": true, "comment": true, "$comments": true, "~standard": true,
}

// mistaken are names that users write instead of the keyword's own.
var mistaken = map[string]string{
	"optional": "required", "values": "enum", "options": "enum", "choices": "enum", "oneof": "oneOf", "min": "minimum", "max": "maximum",
	"regex": "pattern", "regexp": "pattern", "fields": "properties", "props": "properties", "attributes": "properties", "keys": "properties",
	"elements": "items", "array": "items", "parameters": "properties", "extra": "additionalProperties",
}

func annotation(name string) bool {
	return annotations[name] || strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "x_") || strings.HasPrefix(name, "X-")
}

// nearestKeyword returns the keyword that a user most likely meant.
func nearestKeyword(name string) string {
	if meant, ok := mistaken[strings.ToLower(name)]; ok {
		return meant
	}
	return nearest(name, slices.Sorted(maps.Keys(keywords)))
}

// maxNear is how many names are compared for the closest one.
const maxNear = 1_000

// nearest returns the known name closest to name, among the first 1,000. The first one wins among equals.
func nearest(name string, known []string) string {
	known = known[:min(len(known), maxNear)]
	if len(name) > 64 {
		name = name[:64]
	}
	distance := func(a string) int {
		return levenshtein.Distance(strings.ToLower(name), strings.ToLower(a[:min(len(a), 128)]), nil)
	}
	return slices.MinFunc(known, func(a, b string) int { return cmp.Compare(distance(a), distance(b)) })
}

func nearestDistance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	return levenshtein.Distance(strings.ToLower(a), strings.ToLower(b), nil)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
