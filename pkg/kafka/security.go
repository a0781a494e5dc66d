package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
)

// The SASL mechanisms. All of them need a user and a password; PLAIN shows the password to the broker,
// and without TLS to everyone between.
const (
	mechanismPlain    = "PLAIN"
	mechanismSCRAM256 = "SCRAM-SHA-256"
	mechanismSCRAM512 = "SCRAM-SHA-512"
)

// Security says how the brokers are reached and as whom. Certificate, key and password files are read
// again for each new connection.
type Security struct {
	TLS          bool   `name:"kafka-tls" env:"DOORSTEP_KAFKA_TLS" help:"Reach Kafka over TLS."`
	CAFile       string `name:"kafka-ca-file" env:"DOORSTEP_KAFKA_CA_FILE" placeholder:"FILE" help:"Authorities (PEM) that the brokers' certificates must come from. Empty: those of the system."`
	CertFile     string `name:"kafka-cert-file" env:"DOORSTEP_KAFKA_CERT_FILE" placeholder:"FILE" help:"Certificate (PEM) to show to the brokers."`
	KeyFile      string `name:"kafka-key-file" env:"DOORSTEP_KAFKA_KEY_FILE" placeholder:"FILE" help:"Its private key (PEM)."`
	ServerName   string `name:"kafka-server-name" env:"DOORSTEP_KAFKA_SERVER_NAME" placeholder:"NAME" help:"Name in the brokers' certificates. Empty: the host that is dialled."`
	SASL         string `name:"kafka-sasl" env:"DOORSTEP_KAFKA_SASL" placeholder:"MECHANISM" help:"Sign in to Kafka: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Empty: not."`
	User         string `name:"kafka-user" env:"DOORSTEP_KAFKA_USER" placeholder:"NAME" help:"User to sign in as."`
	Password     string `name:"kafka-password" env:"DOORSTEP_KAFKA_PASSWORD" placeholder:"SECRET" help:"The user's password; better by environment or file than on a command line."`
	PasswordFile string `name:"kafka-password-file" env:"DOORSTEP_KAFKA_PASSWORD_FILE" placeholder:"FILE" help:"File whose first line is the password."`
}

// String says what is set, without the password.
func (s Security) String() string {
	return fmt.Sprintf("tls=%t sasl=%q user=%q", s.TLS, s.SASL, s.User)
}

// GoString is String for %#v.
func (s Security) GoString() string { return s.String() }

func (s Security) files() credentials.TLS {
	return credentials.TLS{Settings: "kafka-", CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile, ServerName: s.ServerName}
}

func (s Security) password() credentials.Password {
	return credentials.Password{Setting: "kafka-password", Value: s.Password, File: s.PasswordFile}
}

// validate says which settings do not go together. It is not Validate, which kong would call before
// it is known whether the log is embedded.
func (s Security) validate() error {
	if !s.TLS {
		for setting, value := range map[string]string{
			"ca-file": s.CAFile, "cert-file": s.CertFile, "key-file": s.KeyFile, "server-name": s.ServerName,
		} {
			if value != "" {
				return fmt.Errorf("kafka-%s: needs kafka-tls", setting)
			}
		}
	}
	switch s.SASL {
	case "":
		if s.User != "" || s.password().Given() {
			return errors.New("kafka-sasl: is required with kafka-user and kafka-password: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
		}
	case mechanismPlain, mechanismSCRAM256, mechanismSCRAM512:
		if s.User == "" {
			return fmt.Errorf("kafka-user: is required with kafka-sasl %s", s.SASL)
		}
		if !s.password().Given() {
			return fmt.Errorf("kafka-password: it or kafka-password-file is required with kafka-sasl %s", s.SASL)
		}
	default:
		return fmt.Errorf("kafka-sasl: %q is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", s.SASL)
	}
	return errors.Join(s.files().Validate(), s.password().Validate())
}

// options are the client's. They err if a file cannot be used.
func (s Security) options() ([]kgo.Opt, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	var opts []kgo.Opt
	if s.TLS {
		config, err := s.files().Config()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(config))
	}
	if s.SASL != "" {
		if _, err := s.password().Read(); err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(s.mechanism()))
	}
	return opts, nil
}

func (s Security) mechanism() sasl.Mechanism {
	if s.SASL == mechanismPlain {
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			password, err := s.password().Read()
			return plain.Auth{User: s.User, Pass: password}, err
		})
	}
	auth := func(context.Context) (scram.Auth, error) {
		password, err := s.password().Read()
		return scram.Auth{User: s.User, Pass: password}, err
	}
	if s.SASL == mechanismSCRAM256 {
		return scram.Sha256(auth)
	}
	return scram.Sha512(auth)
}

// ErrRefused says that the brokers answer and will not have us, or we will not have them: the settings
// are at fault, and waiting helps nobody.
var ErrRefused = errors.New("the security settings do not fit the brokers")

// explain says which setting is at fault where a broker was reached and the two did not come together.
func explain(err error) error {
	because := func(why string) error { return fmt.Errorf("%w: %s: %w", ErrRefused, why, err) }
	switch {
	case err == nil || errors.Is(err, ErrRefused):
		return err
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return because("they do not take kafka-user with its kafka-password by this kafka-sasl")
	case errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState):
		return because("they do not offer this kafka-sasl")
	case is[x509.UnknownAuthorityError](err):
		return because("no authority of kafka-ca-file, or of the system without it, vouches for their certificate")
	case is[x509.HostnameError](err):
		return because("their certificate is for another name; kafka-server-name says which to expect")
	case is[x509.CertificateInvalidError](err):
		return because("their certificate cannot be used")
	case is[tls.RecordHeaderError](err):
		return because("kafka-tls is set, and they do not speak TLS there")
	case strings.Contains(err.Error(), "remote error: tls:"): // crypto/tls does not export the type
		return because("they refuse kafka-cert-file, or that there is none")
	case strings.Contains(err.Error(), "tls alert record"): // kgo's words, its type has no name
		return because("they speak TLS there, and kafka-tls is not set")
	case errors.Is(err, io.EOF), strings.Contains(err.Error(), "broker connection has died"): // kgo's words, for a request that still waited
		// Many brokers close the connection instead of an answer. So does one that stops.
		return fmt.Errorf("the connection was closed; if that stays so, kafka-tls, kafka-cert-file, kafka-sasl, "+
			"kafka-user or its password are not what the brokers want: %w", err)
	}
	return Denied(err)
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
