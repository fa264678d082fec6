package deliverytest

import "testing"

func TestStoreConforms(t *testing.T) {
	Conform(t, func(*testing.T) Subject { return &Store{} })
}
