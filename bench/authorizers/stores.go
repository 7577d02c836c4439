package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage" // the file storage
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/store"
)

// opened is a store that is measured.
type opened struct {
	store.Store

	size  func() (bytes, values int64, err error)
	close func()
}

// openRedis starts a Redis server, or opens the one that is there at a URL.
func openRedis(ctx context.Context, dir, at string) (string, *opened, error) {
	stop := func() {}
	if at == "" {
		var err error
		if at, stop, err = startRedis(ctx, dir); err != nil {
			return "", nil, err
		}
	}
	caddyCtx, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	st := &store.Redis{URL: at}
	if err := st.Provision(caddyCtx); err != nil {
		cancel()
		stop()
		return "", nil, err
	}
	client, err := store.NewRedisClient(at, 10*time.Second, zap.NewNop())
	if err != nil {
		cancel()
		stop()
		return "", nil, err
	}
	size := func() (bytes, values int64, err error) {
		info, err := client.Info(ctx, "memory").Result()
		if err != nil {
			return 0, 0, err
		}
		_, after, _ := strings.Cut(info, "used_memory:")
		bytes, err = strconv.ParseInt(strings.TrimSpace(strings.SplitN(after, "\n", 2)[0]), 10, 64)
		return bytes, client.DBSize(ctx).Val(), err
	}
	return at, &opened{st, size, func() {
		_ = client.Close()
		_ = st.Cleanup()
		cancel()
		stop()
	}}, nil
}

// startRedis starts a server that keeps nothing on disk.
func startRedis(ctx context.Context, dir string) (url string, stop func(), err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address := l.Addr().(*net.TCPAddr)
	_ = l.Close()
	cmd := exec.Command("redis-server", "--port", strconv.Itoa(address.Port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("%w: install redis-server, or write -redis 0", err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address.String())
		if err == nil {
			_ = conn.Close()
			return "redis://" + address.String(), stop, nil
		}
	}
	stop()
	return "", nil, errors.New("the Redis server does not answer")
}

// openFiles opens Caddy's file storage in a directory.
func openFiles(ctx context.Context, dir, at string) (string, *opened, error) {
	if at == "" {
		at = filepath.Join(dir, "files")
	}
	caddyCtx, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	raw, err := json.Marshal(map[string]string{"module": "file_system", "root": at})
	if err != nil {
		cancel()
		return "", nil, err
	}
	st := &store.Storage{StorageRaw: raw}
	if err := st.Provision(caddyCtx); err != nil {
		cancel()
		return "", nil, err
	}
	return at, &opened{st, func() (int64, int64, error) { return sizeOf(at) }, cancel}, nil
}

// sizeOf returns how many bytes are in how many files.
func sizeOf(dir string) (bytes, files int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil // a lock
		}
		bytes += info.Size()
		files++
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, nil
	}
	return bytes, files, err
}
