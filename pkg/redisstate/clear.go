package redisstate

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// clearCount is how many keys one step looks at.
const clearCount = 1000

// Clear deletes every key under cfg.Prefix, which may not be empty: what an installation leaves that is gone for good.
func Clear(ctx context.Context, cfg Config) error {
	if cfg.Prefix == "" {
		return errors.New("redis-prefix: is empty; without one every key would be deleted")
	}
	c, err := Connect(cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	pattern := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`).Replace(cfg.Prefix) + "*"
	for cursor := uint64(0); ; {
		keys, next, err := c.redis.Scan(ctx, cursor, pattern, clearCount).Result()
		if err != nil {
			return fmt.Errorf("list the keys under %s: %w", cfg.Prefix, err)
		}
		if len(keys) > 0 {
			if err := c.redis.Unlink(ctx, keys...).Err(); err != nil {
				return fmt.Errorf("delete the keys under %s: %w", cfg.Prefix, err)
			}
		}
		if next == 0 {
			return nil
		}
		cursor = next
	}
}
