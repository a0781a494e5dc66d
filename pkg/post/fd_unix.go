//go:build unix

package post

import "syscall"

// The system's read and write on a socket, which is never one that blocks.

func readFD(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) } //nolint:gosec // a descriptor

func writeFD(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) } //nolint:gosec // a descriptor
