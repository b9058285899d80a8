//go:build race

package jsonschema

const raceDetector = true
