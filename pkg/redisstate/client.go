package redisstate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
)

// DefaultTimeout is the time that one call may take in all: connecting, waiting for a connection,
// asking.
const DefaultTimeout = 100 * time.Millisecond

// Config says where Redis is.
type Config struct {
	URL          string        `name:"redis-url" env:"DOORSTEP_REDIS_URL" placeholder:"URL" help:"Redis 7: redis://[user:password@]host:port[/db], rediss:// for TLS. Not set: an embedded one."`
	Prefix       string        `name:"redis-prefix" env:"DOORSTEP_REDIS_PREFIX" default:"doorstep:" help:"What every key begins with; tells installations on one Redis apart."`
	CAFile       string        `name:"redis-ca-file" env:"DOORSTEP_REDIS_CA_FILE" placeholder:"FILE" help:"Authorities (PEM) that Redis's certificate must come from; with rediss://. Empty: those of the system."`
	CertFile     string        `name:"redis-cert-file" env:"DOORSTEP_REDIS_CERT_FILE" placeholder:"FILE" help:"Certificate (PEM) to show to Redis; with rediss://."`
	KeyFile      string        `name:"redis-key-file" env:"DOORSTEP_REDIS_KEY_FILE" placeholder:"FILE" help:"Its private key (PEM)."`
	PasswordFile string        `name:"redis-password-file" env:"DOORSTEP_REDIS_PASSWORD_FILE" placeholder:"FILE" help:"File whose first line is the password, read for each new connection; instead of one in the URL."`
	Timeout      time.Duration `name:"redis-timeout" env:"DOORSTEP_REDIS_TIMEOUT" default:"100ms" help:"Time for one call in all. A Redis that takes longer is away, and is left alone until it answers again."`
	// Failed is called for each call that Redis does not answer; nil: nobody counts them.
	Failed func() `kong:"-" json:"-"`
}

// ErrAway is the error of a call that was not made because Redis is away.
var ErrAway = errors.New("redis is away")

// Client is a connection to Redis that costs little when Redis is away: the call that finds out
// takes at most Config.Timeout; those after it fail at once with ErrAway, while one PING at a time
// is sent beside them, until one is answered. It is safe for concurrent use.
type Client struct {
	redis   *redis.Client
	prefix  string
	timeout time.Duration
	failed  func()

	life   context.Context // of the probes
	end    context.CancelFunc
	probes sync.WaitGroup

	mu      sync.Mutex
	breaker breaker
	closed  bool
}

// Connect makes a Client. Redis need not be there yet: it errs only if cfg is at fault, and never
// shows the URL, which may hold a password.
func Connect(cfg Config) (*Client, error) {
	options, err := redis.ParseURL(cfg.URL)
	if err != nil {
		return nil, errors.New("redis URL cannot be read: want redis://[user:password@]host:port[/db], or rediss:// for TLS")
	}
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("redis timeout %s is below zero", cfg.Timeout)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if err := cfg.secure(options); err != nil {
		return nil, err
	}
	options.ContextTimeoutEnabled = true // our deadline holds for the call, these for what outlives it
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout, options.PoolTimeout = cfg.Timeout, cfg.Timeout, cfg.Timeout, cfg.Timeout
	options.DialerRetries = 1
	options.MaxRetries = -1 // none: a compare-and-set that went through must not be made again
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

	c := &Client{redis: redis.NewClient(options), prefix: cfg.Prefix, timeout: cfg.Timeout, failed: cfg.Failed}
	if c.failed == nil {
		c.failed = func() {}
	}
	c.life, c.end = context.WithCancel(context.Background())
	return c, nil
}

// secure puts in what the URL does not say of TLS and the password.
func (c Config) secure(options *redis.Options) error {
	files := credentials.TLS{Settings: "redis-", CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile}
	if options.TLSConfig != nil {
		config, err := files.Config()
		if err != nil {
			return err
		}
		options.TLSConfig.RootCAs, options.TLSConfig.GetClientCertificate = config.RootCAs, config.GetClientCertificate
	} else if files != (credentials.TLS{Settings: "redis-"}) {
		return errors.New("redis-ca-file, redis-cert-file: need a redis-url that begins with rediss://")
	}
	if c.PasswordFile == "" {
		return nil
	}
	password := credentials.Password{Setting: "redis-password", File: c.PasswordFile}
	if options.Password != "" {
		return errors.New("redis-password-file: the redis-url holds a password too; only one can be meant")
	}
	if _, err := password.Read(); err != nil {
		return err
	}
	user := options.Username
	options.CredentialsProviderContext = func(context.Context) (string, string, error) {
		read, err := password.Read()
		return user, read, err
	}
	return nil
}

// Close ends the connections. Calls after it fail.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.probes.Wait()
	return c.redis.Close()
}

// Away reports whether the last that was heard of Redis is that it is away.
func (c *Client) Away() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.breaker.away
}

// call lets fn ask Redis, for at most the timeout, unless it is away.
func (c *Client) call(ctx context.Context, fn func(context.Context) error) error {
	if !c.admit() {
		return ErrAway
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := fn(ctx)
	if unanswered(err) {
		c.mu.Lock()
		c.breaker.fail(time.Now())
		c.mu.Unlock()
		c.failed()
	}
	return err
}

// admit reports whether a call may be made, and starts a probe if one is due.
func (c *Client) admit() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return true // the library says so itself
	}
	admitted, probe := c.breaker.ask(time.Now())
	if probe {
		c.probes.Go(c.probe)
	}
	return admitted
}

func (c *Client) probe() {
	ctx, cancel := context.WithTimeout(c.life, c.timeout)
	defer cancel()
	err := c.redis.Ping(ctx).Err()
	if unanswered(err) {
		c.failed()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.breaker.probed(time.Now(), !unanswered(err))
}

// unanswered reports whether err means that Redis is away. A reply of Redis, even one that refuses,
// is an answer; a caller that gave up says nothing.
func unanswered(err error) bool {
	var reply redis.Error
	switch {
	case err == nil, errors.As(err, &reply), errors.Is(err, context.Canceled), errors.Is(err, redis.ErrClosed):
		return false
	default:
		return true
	}
}
