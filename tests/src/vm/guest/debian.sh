#!/bin/sh
# First process of a machine that is made of Debian packages: what their own scripts would have done as far as systemd and
# dpkg ask for it, one agent for each virtio port named "agentN", and systemd.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
chmod 755 /
mkdir -p /dev /proc /sys /run /root /tmp /var/tmp /var/log
chmod 1777 /tmp /var/tmp
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755 run /run
cp /usr/share/base-passwd/passwd.master /etc/passwd
cp /usr/share/base-passwd/group.master /etc/group
echo card >/etc/hostname
echo 8f4b9e421c1b4c398f0b6d1c5a3e7d10 >/etc/machine-id
ldconfig
depmod
modprobe -a virtio_pci virtio_console virtio_rng
for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name"
    case "$name" in
    agent*) setsid sh /agent.sh "/dev/${port##*/}" "$name" & ;;
    esac
done
exec /lib/systemd/systemd
