package mail

import (
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/url"
	"strconv"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
)

// Ports where the URL names none.
const (
	portSMTP  = 25
	portSMTPS = 465
)

// senderName is who mails are from, unless Config.From says a name.
const senderName = "Doorstep"

// DefaultFrom is the address that mails are from where the settings name none.
const DefaultFrom = "doorstep@localhost"

// Config says which mail server takes the mails.
type Config struct {
	URL          string `name:"smtp-url" env:"DOORSTEP_SMTP_URL" placeholder:"URL" help:"Mail server: smtp://[user:password@]host[:port] (port 25; STARTTLS if it is offered, always with a password), or smtps:// for TLS from the start (port 465). ?starttls=require insists on TLS, ?starttls=never does without. Not set: mails are kept to be read in Doorstep."`
	From         string `name:"smtp-from" env:"DOORSTEP_SMTP_FROM" default:"doorstep@localhost" placeholder:"ADDRESS" help:"Address that mails are from."`
	CAFile       string `name:"smtp-ca-file" env:"DOORSTEP_SMTP_CA_FILE" placeholder:"FILE" help:"Authorities (PEM) that the mail server's certificate must come from. Empty: those of the system."`
	PasswordFile string `name:"smtp-password-file" env:"DOORSTEP_SMTP_PASSWORD_FILE" placeholder:"FILE" help:"File whose first line is the password, read for each mail; instead of one in the URL."`
}

// String says where the server is, without user and password.
func (c Config) String() string {
	s, err := c.server()
	if err != nil {
		return "smtp-url that cannot be used"
	}
	return fmt.Sprintf("%s starttls=%s from=%q", s.address(), s.security, c.From)
}

// GoString is String for %#v.
func (c Config) GoString() string { return c.String() }

// Validate says what is wrong with the settings. Without a URL there is no mail server, which is not wrong.
func (c Config) Validate() error {
	if _, err := c.from(); err != nil {
		return err
	}
	if c.URL == "" {
		switch {
		case c.CAFile != "":
			return errors.New("smtp-ca-file: needs smtp-url")
		case c.PasswordFile != "":
			return errors.New("smtp-password-file: needs smtp-url")
		}
		return nil
	}
	_, err := c.server()
	return err
}

func (c Config) from() (*netmail.Address, error) {
	if c.From == "" {
		return &netmail.Address{Name: senderName, Address: DefaultFrom}, nil
	}
	from, err := netmail.ParseAddress(c.From)
	if err != nil {
		return nil, fmt.Errorf("smtp-from: %q is not a mail address, e.g. doorstep@example.com", c.From)
	}
	if from.Name == "" {
		from.Name = senderName
	}
	return from, nil
}

// security is how a connection is kept from being read.
type security string

const (
	implicitTLS     security = "smtps"   // from the start
	starttlsRequire security = "require" // or no mail goes out
	starttlsOffered security = "offered" // if the server offers it
	starttlsNever   security = "never"
)

// server is what the URL says.
type server struct {
	host     string
	port     int
	user     string
	password credentials.Password
	security security
}

func (s server) address() string { return net.JoinHostPort(s.host, strconv.Itoa(s.port)) }

// server reads the URL. Its errors do not show it, since it may hold a password.
func (c Config) server() (server, error) {
	const want = "want smtp://[user:password@]host[:port][?starttls=require|never], or smtps:// for TLS from the start"
	u, err := url.Parse(c.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" || strings.Trim(u.Path, "/") != "" || u.Fragment != "" {
		return server{}, errors.New("smtp-url: cannot be read: " + want)
	}
	s := server{host: u.Hostname(), port: portSMTP, security: starttlsOffered, user: u.User.Username()}
	s.password = credentials.Password{Setting: "smtp-password", File: c.PasswordFile}
	s.password.Value, _ = u.User.Password()
	if u.Scheme == "smtps" {
		s.port, s.security = portSMTPS, implicitTLS
	}
	if text := u.Port(); text != "" {
		if s.port, err = strconv.Atoi(text); err != nil || s.port < 1 || s.port > 65535 {
			return server{}, errors.New("smtp-url: the port must be 1 to 65535")
		}
	}
	if err := s.tune(u.Query()); err != nil {
		return server{}, err
	}
	switch {
	case s.user == "" && s.password.Given():
		return server{}, errors.New("smtp-url: names no user for the password")
	case s.user != "" && !s.password.Given():
		return server{}, errors.New("smtp-url: names a user without a password; it or smtp-password-file is required")
	case s.password.Validate() != nil:
		return server{}, errors.New("smtp-password-file: the smtp-url holds a password too; only one can be meant")
	case s.security == starttlsNever && c.CAFile != "":
		return server{}, errors.New("smtp-ca-file: is of no use with ?starttls=never in the smtp-url")
	}
	if s.user != "" && s.security == starttlsOffered {
		s.security = starttlsRequire // whoever sits between could take the offer out, and read the password
	}
	return s, nil
}

// tune reads what stands behind the question mark.
func (s *server) tune(query url.Values) error {
	for name, values := range query {
		value := security(values[len(values)-1])
		switch {
		case name != "starttls":
			return fmt.Errorf("smtp-url: %q is not known behind the question mark, only starttls", name)
		case s.security == implicitTLS:
			return errors.New("smtp-url: smtps:// is TLS from the start; starttls is for smtp://")
		case value != starttlsRequire && value != starttlsNever:
			return errors.New("smtp-url: starttls must be require or never; without it, STARTTLS is used if it is offered")
		}
		s.security = value
	}
	return nil
}
