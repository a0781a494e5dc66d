//go:build !unix

package post

import "syscall"

// Where a socket cannot be looked at without waiting, no connection is used twice.

func readFD(uintptr, []byte) (int, error) { return 0, syscall.ENOTSUP }

func writeFD(uintptr, []byte) (int, error) { return 0, syscall.ENOTSUP }
