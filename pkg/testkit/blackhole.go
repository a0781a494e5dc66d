package testkit

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// Blackhole is an address of this machine on which the kernel answers no SYN, because the queue of the
// listener there is full, until the test ends; so are all of 127.0.0.0/8 at its port. It is false on
// kernels that answer all the same.
func Blackhole(t testing.TB) (address string, ok bool) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	bound, isIPv4 := name.(*syscall.SockaddrInet4)
	if !isIPv4 {
		t.Fatalf("bound to %v", name)
	}
	address = fmt.Sprintf("127.0.0.1:%d", bound.Port)
	for range 16 {
		c, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address, true
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	return "", false
}
