#!/bin/busybox sh
# First process of a test machine: mounts, drivers, then one agent for each virtio port named "agentN" and a
# login shell on the second serial line.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
# The first root is writable by all, from which DPDK loads nothing.
chmod 755 /
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t tmpfs shm /dev/shm
modprobe -a virtio_pci virtio_console virtio_rng configfs
modprobe -q virtio_net
mount -t configfs config /sys/kernel/config
ip link set lo up
for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name"
    case "$name" in
    agent*) setsid sh /agent.sh "/dev/${port##*/}" "$name" & ;;
    esac
done
# A shell for whoever connects to the second serial line.
while :; do
    setsid getty -L -n -i -l /shell.sh 115200 ttyS1 linux
    sleep 1
done
