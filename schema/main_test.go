package schema

import (
	"testing"

	"gatehouse/internal/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }
