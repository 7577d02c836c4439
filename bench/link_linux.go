package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// newLink makes a network namespace and a link to it that delays every packet.
// The kernel's netem does that best; where it is missing, packets go through
// this process.
func newLink(ctx context.Context, delay time.Duration) (*link, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can")
	}
	l := new(link)
	name := fmt.Sprintf("bwx%d", os.Getpid())
	if err := ip(ctx, "netns", "add", name); err != nil {
		return nil, err
	}
	// What is undone is undone even after an interruption.
	l.closers = append(l.closers, func() { _ = ip(context.WithoutCancel(ctx), "netns", "del", name) })
	l.enter = []string{"ip", "netns", "exec", name}
	l.near, l.far = linkAddresses(os.Getpid())
	near, far := name+"n", name+"f"

	netemErr := l.addNetem(ctx, name, near, far, delay)
	if netemErr == nil {
		l.how = "a veth pair with netem"
	} else {
		if err := l.addTunnel(ctx, name, near, far, delay); err != nil {
			l.close()
			return nil, fmt.Errorf("netem: %w; TUN: %w", netemErr, err)
		}
		l.how = "two TUN devices and this program between them, since there is no netem here"
	}
	for _, args := range [][]string{
		{"addr", "add", l.near, "peer", l.far, "dev", near},
		{"link", "set", near, "up"},
		{"-n", name, "addr", "add", l.far, "peer", l.near, "dev", far},
		{"-n", name, "link", "set", far, "up"},
		{"-n", name, "link", "set", "lo", "up"},
	} {
		if err := ip(ctx, args...); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// addNetem adds two network devices that the kernel joins and delays.
func (l *link) addNetem(ctx context.Context, namespace, near, far string, delay time.Duration) error {
	if err := ip(ctx, "link", "add", near, "type", "veth", "peer", "name", far, "netns", namespace); err != nil {
		return err
	}
	remove := func() { _ = ip(context.WithoutCancel(ctx), "link", "del", near) }
	netem := []string{"root", "netem", "delay", fmt.Sprintf("%dus", delay.Microseconds()), "limit", "10000"}
	err := output(exec.CommandContext(ctx, "tc", append([]string{"qdisc", "add", "dev", near}, netem...)...))
	if err == nil {
		err = output(exec.CommandContext(ctx, "tc", append([]string{"-n", namespace, "qdisc", "add", "dev", far}, netem...)...))
	}
	if err != nil {
		remove()
		return err
	}
	l.closers = append(l.closers, remove)
	return nil
}

// addTunnel adds two network devices that this process joins.
func (l *link) addTunnel(ctx context.Context, namespace, near, far string, delay time.Duration) error {
	nearFile, err := openTUN(near)
	if err != nil {
		return err
	}
	l.closers = append(l.closers, func() { _ = nearFile.Close() })
	farFile, err := openTUN(far)
	if err != nil {
		return err
	}
	l.closers = append(l.closers, func() { _ = farFile.Close() })
	if err := ip(ctx, "link", "set", far, "netns", namespace); err != nil {
		return err
	}
	go pump(nearFile, farFile, delay)
	go pump(farFile, nearFile, delay)
	return nil
}

// openTUN makes a device that is there as long as the file is open. What is
// read from the file was sent to the device, and the other way round.
func openTUN(name string) (*os.File, error) {
	const device = "/dev/net/tun"
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: device, Err: err}
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", device, err)
	}
	return os.NewFile(uintptr(fd), device), nil
}

func ip(ctx context.Context, args ...string) error {
	return output(exec.CommandContext(ctx, "ip", args...))
}

// output runs a command; what it says becomes the error if it fails.
func output(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
