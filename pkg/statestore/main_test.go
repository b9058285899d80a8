package statestore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/internal/testredis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testredis.Dialling()) }
