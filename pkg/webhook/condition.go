package webhook

import (
	"crypto/sha256"
	"encoding/hex"
)

// ConditionKey tells conditions apart without telling what they say: 16 characters; empty for none.
func ConditionKey(condition string) string {
	if condition == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(condition))
	return hex.EncodeToString(sum[:8])
}
