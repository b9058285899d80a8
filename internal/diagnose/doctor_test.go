package diagnose

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTooOld(t *testing.T) {
	for version, old := range map[string]bool{"5.0.7": true, "6.0.16": true, "6.2.0": false, "7.0.15": false, "8.2.1": false, "": false, "dev": false} {
		assert.Equal(t, old, tooOld(version), version)
	}
}
