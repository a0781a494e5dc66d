package cli

import "github.com/alecthomas/kong"

// Where `up` listens, and where the client commands look.
const (
	defaultHTTP = "127.0.0.1:8080"
	defaultGRPC = "127.0.0.1:8081"
)

// localDefaults makes `up` listen on loopback alone unless told otherwise: it is what people try
// first, often on a machine that others reach.
func localDefaults(k *kong.Kong) error {
	for _, command := range k.Model.Children {
		if command.Name != "up" {
			continue
		}
		for _, flag := range command.Flags {
			switch flag.Name {
			case "http":
				flag.Default = defaultHTTP
			case "grpc":
				flag.Default = defaultGRPC
			}
		}
	}
	return nil
}
