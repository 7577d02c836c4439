package store

import (
	"errors"
	"io/fs"
	"syscall"
)

// Advice is why a store fails and what an operator does about it, in the
// languages of the status page. It holds nothing secret.
type Advice struct {
	// Code is the cause in one word, for programs: denied or unreachable, for
	// example.
	Code string

	English, Chinese string
}

// RefusalError is an error of a store that lasts until somebody does something about
// it. Stores return it where they know what that is.
type RefusalError struct {
	Advice

	// Err is what the store has told, without secrets.
	Err error
}

// Error returns the cause and the cure.
func (r *RefusalError) Error() string { return r.Err.Error() + ": " + r.English }

// Unwrap returns the cause alone.
func (r *RefusalError) Unwrap() error { return r.Err }

// Explain returns the advice about a store's error, and reports whether there
// is any.
func Explain(err error) (Advice, bool) {
	if refusal, ok := errors.AsType[*RefusalError](err); ok {
		return refusal.Advice, true
	}
	for _, c := range fileAdvice {
		if errors.Is(err, c.cause) {
			return c.Advice, true
		}
	}
	return Advice{}, false
}

// fileAdvice is about the errors of Caddy's own storage, which is files. A file
// that is missing is no error.
var fileAdvice = []struct {
	cause error
	Advice
}{
	{fs.ErrPermission, Advice{
		"denied",
		"let the user that Caddy runs as write into its data directory",
		"请让运行 Caddy 的用户可以写入其数据目录",
	}},
	{syscall.EROFS, Advice{
		"read_only",
		"the data directory is on a file system that is mounted read-only: mount it read-write, or write store redis",
		"数据目录所在的文件系统以只读方式挂载：请改为可写，或使用 store redis",
	}},
	{syscall.ENOSPC, Advice{
		"full",
		"the disk is full: make room on it",
		"磁盘已满：请清理空间",
	}},
}
